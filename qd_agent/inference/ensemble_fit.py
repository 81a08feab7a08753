"""The size that a Debye model gives, averaged over what may be wrong with the pattern.

Nanocrystals over a liquid: mean diameter, dispersion, lattice scale and B move under Gaussian
priors, the liquid is any of those that training draws (a Gaussian prior too, see `liquids` in the
artifact). Of the instrument the resolution is known and not fitted, since broadening and size trade
against each other. How much else is wrong is not known beforehand: four hypotheses are fitted, from
a clean pattern to one that is bent and rough, and weighed by their evidence (MacKay, Neural Comput.
4, 415 (1992)). A clean pattern is so read to near the physical limit, and a rough one is not
believed beyond what it shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from qd_agent.inference.binned_debye import BINNED_Q, BinnedDebye, Dots
from qd_agent.inference.ensemble_search import Asked, End, Point, Search
from qd_agent.inference.hypotheses import (
    CLEAN,
    ENSEMBLE,
    HYPOTHESES,
    LEAST_LIQUID,
    LIMITS,
    LIQUID_MISSED,
    LIQUID_SPREAD,
    USUAL_B_LEAD,
    USUAL_B_SULFUR,
    USUAL_DISPERSION,
    USUAL_SCALE,
)
from qd_agent.inference.least_squares import level_of, noise_unit
from qd_agent.inference.weighing import Weighing
from qd_agent.scattering.reflections import PRINCIPAL, family_gains

Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class FittedSize:
    """Averages that were found, nm, and their standard deviations; priors entered.

    `hypothesis` is the index of the most likely of HYPOTHESES; a pattern is clean only where that
    one leaves nothing (see CLEAN).
    """

    diameter: float
    sd: float
    volume: float
    volume_sd: float
    dispersion: float
    hypothesis: int = 0


class EnsembleFitter:
    """Fits ensembles of the artifact's clusters over the liquids of its prior."""

    def __init__(self, debye: BinnedDebye, liquids: Float) -> None:
        self._debye, self._liquids = debye, liquids
        x = (BINNED_Q - 8.0) / 7.0
        names = ("texture_111", "texture_100", "texture_110")
        self._factors: Mapping[str, Float] = {
            "tilt": np.exp(-(BINNED_Q - 0.99) / 0.3),
            "slope": x,
            "curve": 2.0 * x**2 - 1.0,
            "wave": 4.0 * x**3 - 3.0 * x,
            **dict(zip(names, family_gains(BINNED_Q)[:PRINCIPAL], strict=True)),
        }

    def fit(
        self,
        pattern: Float,
        coverage: Float,
        diameter: float,
        dispersion: float,
        resolution: float = 0.0,
    ) -> FittedSize | None:
        """Fit a binned pattern (1251,) of mean 1 from a first size (nm) and dispersion.

        `coverage` is the covered share of each bin; bins below one half are left out. `resolution`
        is the standard deviation of the instrument's Gaussian, 1/Å. None where the pattern has no
        use for nanocrystals.
        """
        use = coverage > 0.5
        measured = np.where(use, pattern, 0.0)
        level = level_of(pattern[use])
        noise = np.maximum(noise_unit(pattern[use]) * np.sqrt(level), 1e-5 * level.mean())
        usual = Dots(
            diameter, USUAL_DISPERSION, USUAL_SCALE, USUAL_B_LEAD, USUAL_B_SULFUR, resolution
        )
        start = replace(usual, dispersion=float(np.clip(dispersion, *LIMITS["dispersion"])))
        asked = Asked(measured, usual, self._debye.contrast(start))
        mean = float(measured[use].mean())
        wide = Weighing(use, noise, [0.003 * level], LIQUID_SPREAD * mean * self._liquids)
        first = Search(self, wide, asked, ("zero",)).run(start, rounds=3)
        if first is None:
            return None
        background = self._background(wide, first, measured, mean)
        height = max(float(background[use].mean()), LEAST_LIQUID * mean)
        liquids = LIQUID_SPREAD * height * self._liquids
        crystals = np.abs(first.amplitude * first.plain[use])
        ends: list[End] = []
        dots = first.dots
        for hypothesis in HYPOTHESES:
            missing = [LIQUID_MISSED * background[use], hypothesis.missed * crystals]
            weighing = Weighing(use, noise, missing, liquids)
            search = Search(self, weighing, asked, hypothesis.bends)
            found = search.run(dots)
            if found is None:
                continue
            ends.append(search.end(found))
            dots = found.dots
            if hypothesis is HYPOTHESES[1] and ends[-1].chi2 < CLEAN:
                break  # nothing is left that bends could explain
        return _averaged(ends) if ends else None

    def columns(
        self, dots: Dots, bends: tuple[str, ...], fixed: Mapping[str, Float]
    ) -> tuple[Float, dict[str, Float]]:
        """(plain pattern, its changes with everything that moves, per unit), (1251,) each."""
        plain, changes = self._debye.derivatives(dots)
        bent = {
            name: np.gradient(plain, BINNED_Q) if name == "zero" else plain * self._factors[name]
            for name in bends
        }
        return plain, {**{name: changes[name] for name in ENSEMBLE}, **fixed, **bent}

    def averages(self, dots: Dots) -> Float:
        """(number average, volume-weighted average), nm."""
        return np.array(self._debye.averages(dots.size, dots.dispersion))

    def _background(self, weighing: Weighing, at: Point, measured: Float, mean: float) -> Float:
        plain, columns = self.columns(at.dots, ("zero",), {})
        model = at.amplitude * (plain + at.shifts.get("zero", 0.0) * columns["zero"])
        multiples = weighing.background(weighing.whiten(measured - model))
        return np.maximum(LIQUID_SPREAD * mean * self._liquids @ multiples, 0.0)


def _averaged(ends: list[End]) -> FittedSize:
    """Mean over the hypotheses, each as likely as its evidence says."""
    evidence = np.array([end.evidence for end in ends])
    weights = np.exp(-0.5 * (evidence - evidence.min()))
    weights /= weights.sum()
    averages = np.stack([end.averages for end in ends])
    sds = np.stack([end.sds for end in ends])
    mean = weights @ averages
    sd = np.sqrt(weights @ (sds**2 + (averages - mean) ** 2))
    dispersion = float(weights @ np.array([end.point.dots.dispersion for end in ends]))
    likely = int(np.argmax(weights))
    return FittedSize(
        diameter=float(mean[0]),
        sd=float(sd[0]),
        volume=float(mean[1]),
        volume_sd=float(sd[1]),
        dispersion=dispersion,
        hypothesis=1 if likely == 0 and ends[0].chi2 > CLEAN else likely,
    )
