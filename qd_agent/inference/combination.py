"""The network's answer and the fit's made into one, with its calibrated uncertainty.

The network has learned what instruments and backgrounds do and is hard to mislead; the fit is
precise where a pattern is clean. They are weighed by their variances; where they disagree, the
uncertainty grows by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qd_agent.inference.calibration import Calibration, Conditions
from qd_agent.inference.distribution import as_sure_as_right, class_probabilities
from qd_agent.inference.explanation import Fit
from qd_agent.inference.hypotheses import HYPOTHESES

Float = npt.NDArray[np.float64]

TWO_SIDED_90 = 1.6449
"""Half-width of the central 90 % of a normal distribution, in its standard deviations."""

ROUGHEST = len(HYPOTHESES) - 1

PEAK = 2.4
"""Standard deviation of a peak times the diameter: 2π · 0.9 / 2.355 (Scherrer), without unit."""

SAMPLED, SAMPLED_VOLUME = 1.1, 0.8
"""Times what the width of a Gaussian peak says, so much less are number and volume-weighted average
where the points of a coarse source are samples and not means over its steps. Measured on seven
simulated patterns of 3.6 to 10 nm in steps of 0.05 to 0.0125 1/Å, by reading them as both: 1.08 to
1.23 and 0.76 to 0.84."""

SKEW = (1.0, 2.6)
"""The ends of the network's interval may lie so many standard deviations from its mean."""


@dataclass(frozen=True, slots=True)
class Marginal:
    """Mean, standard deviation and central 90 % of one average of the diameter, nm."""

    mean: float
    sd: float
    low: float
    high: float

    def reaches(self) -> tuple[float, float]:
        """How far the interval reaches down and up, in standard deviations."""
        sd = max(self.sd, 1e-6)
        down, up = (self.mean - self.low) / sd, (self.high - self.mean) / sd
        return float(np.clip(down, *SKEW)), float(np.clip(up, *SKEW))


@dataclass(frozen=True, slots=True)
class Reading:
    """The network's answer to one pattern.

    Attributes:
        diameter, volume: number average and volume-weighted average.
        sizes: probabilities of the bins of the number average, shape (bins,).
        nothing, foreign: probabilities of these kinds.
    """

    diameter: Marginal
    volume: Marginal
    dispersion: float
    fraction: float
    nothing: float
    foreign: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said of one pattern; lengths in nm. Intervals are calibrated, 90 %."""

    diameter: float
    sd: float
    interval: tuple[float, float]
    volume: float
    interval_volume: tuple[float, float]
    dispersion: float
    classes: tuple[float, ...]


def conditions_of(found: Sequence[tuple[Reading, Fit]], answers: Sequence[Marginal]) -> Conditions:
    """What patterns are like, and how sure their `answers` are, not scaled yet."""
    rows = [(r.diameter.mean, r.fraction, f.noise, f.misfit, f.reach) for r, f in found]
    size, share, noise, misfit, reach = np.array(rows, dtype=np.float64).reshape(-1, 5).T
    which = [ROUGHEST if f.size is None else f.size.hypothesis for _, f in found]
    surety = np.array([a.sd / max(a.mean, 1e-6) for a in answers], dtype=np.float64)
    return Conditions(size, share, noise, misfit, np.array(which, dtype=np.intp), surety, reach)


def weigh(network: Marginal, size: float, sd: float) -> tuple[Marginal, float]:
    """Network and fit by their variances: (mean and sd with the network's skew, fit's weight).

    Both saw the same data, so their errors are taken as fully correlated: to agree does not make
    them surer.
    """
    weight = network.sd**2 / max(network.sd**2 + sd**2, 1e-12)
    mean = (1 - weight) * network.mean + weight * size
    apart = weight * (1 - weight) * (network.mean - size) ** 2
    together = float(np.hypot((1 - weight) * network.sd + weight * sd, np.sqrt(apart)))
    down, up = network.reaches()
    return Marginal(mean, together, mean - down * together, mean + up * together), weight


def weighed(reading: Reading, fit: Fit, calibration: Calibration) -> tuple[Marginal, Marginal]:
    """Number and volume-weighted average before their uncertainties are scaled."""
    if fit.size is None:
        return reading.diameter, reading.volume
    found = fit.size
    believed, volume_believed = calibration.fits(reading.fraction, found.hypothesis)
    number, _ = weigh(reading.diameter, found.diameter, believed * found.sd)
    volume, _ = weigh(reading.volume, found.volume, volume_believed * found.volume_sd)
    return number, volume


def combine(reading: Reading, fit: Fit, calibration: Calibration, blur: float = 0.0) -> Answer:
    """One calibrated answer.

    `blur` (standard deviation, 1/Å) is what the fit was told of as the instrument's and may not be
    there at all; the intervals reach down to where they would lie then.
    """
    number, volume = weighed(reading, fit, calibration)
    like, volume_like = (conditions_of([(reading, fit)], [m]) for m in (number, volume))
    factor = float(calibration.diameter.factors(like)[0])
    volume_factor = float(calibration.volume.factors(volume_like)[0])
    extra = calibration.missing(number.mean, fit.misfit, fit.reach)
    shift, volume_shift = (
        times * _too_large(average.mean, blur)
        for times, average in ((SAMPLED, number), (SAMPLED_VOLUME, volume))
    )
    sd, interval = _stated(number, factor, extra, shift)
    _, interval_volume = _stated(volume, volume_factor, extra, volume_shift)
    share = 0.0
    if fit.size is not None:
        believed, _ = calibration.fits(reading.fraction, fit.size.hypothesis)
        share = weigh(reading.diameter, fit.size.diameter, believed * fit.size.sd)[1]
    spread = reading.dispersion if fit.size is None else fit.size.dispersion
    scale = calibration.classes * float(np.hypot(factor * number.sd, extra))
    return Answer(
        diameter=number.mean,
        sd=sd,
        interval=interval,
        # What weighs large particles more is never the smaller average.
        volume=max(volume.mean, number.mean),
        interval_volume=interval_volume,
        dispersion=(1 - share) * reading.dispersion + share * spread,
        classes=as_sure_as_right(
            class_probabilities(number.mean, scale), *calibration.confidence.line(like)
        ),
    )


def _too_large(size: float, blur: float) -> float:
    """How much less a size, nm, would be if its Gaussian peaks were not widened by `blur`, 1/Å."""
    return 0.5 * size * (blur * 10.0 * size / PEAK) ** 2


def _stated(
    marginal: Marginal, factor: float, extra: float, below: float
) -> tuple[float, tuple[float, float]]:
    """Calibrated sd and 90 % interval, with an `extra` sd in quadrature, so much longer `below`."""
    down, up = marginal.reaches()
    reach, further = factor * marginal.sd, TWO_SIDED_90 * extra
    low, high = float(np.hypot(down * reach, further)), float(np.hypot(up * reach, further))
    low += below
    sd = 0.5 * (low + high) / TWO_SIDED_90
    return sd, (max(0.0, marginal.mean - low), marginal.mean + high)
