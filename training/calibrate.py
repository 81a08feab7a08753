"""Calibration and limits, from simulations that training never saw (another seed)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from qd_agent.inference.artifact import Artifact, Thresholds
from qd_agent.inference.calibration import (
    Calibration,
    Four,
    share_band,
)
from qd_agent.inference.combination import (
    weigh,
)
from qd_agent.inference.distribution import softmax
from qd_agent.inference.domain import Evidence, judge
from qd_agent.inference.hypotheses import HYPOTHESES
from qd_agent.inference.network import Axis, SizingNetwork
from qd_agent.inference.sizer import Examined
from training.dataset import Batch, PatternSource
from training.loss import soft_labels

Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

REFUSED_PER_LIMIT, REFUSED_AS_FOREIGN = 0.0012, 0.002
"""Share of good patterns that each of the five limits may refuse, and that of something foreign.
Together they refuse 0.8 %: that of the misfit, which may be no higher, alone 0.4 %. So chance does
not take others beyond 1 %; with 0.0018 each, 1.04 % of 3372 were refused. What passes the limit of
something foreign is a wrong number: with 0.0012 there too, 6 of 18 patterns of PbF2 did, with
0.0018 3."""

GOOD_SIGNAL, GOOD_FRACTION = 1.0, 0.02
"""A good pattern has fraction × √(counts per point) above this, and at least this share. At 2 %
and 2500 counts, or 10 % and 100, the strongest peaks stand a few sigma above the noise."""


GOOD_SIZES_NM = (1.5, 10.5)
"""And a size a little inside the range that may be given."""

NO_SAY = 1e3
"""Factor on the fit's standard deviation that leaves the answer to the network."""

BELIEFS = (0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0, 5.0, 10.0, NO_SAY)
"""Factors that are tried. They decide who has how much say and no more: what is then stated is
scaled by how often it holds. Below 1, the network states too little of its own error."""

INDIFFERENT = (1.2, 1.0, 1.0, 1.0)
"""Of factors whose mean errors lie within this of the least, the smallest; one number for each
hypothesis. Where the fit finds nothing wrong with a pattern it is near the physical limit, and it
is decided for the fit, unless that costs simulations, which are harder than clean measurements (one
in twelve has facets, one in seven a disordered surface), a fifth of their mean error. Elsewhere
the least mean error decides."""

FEW_FITS = 30

EVERY = range(len(HYPOTHESES))


@dataclass(frozen=True, slots=True)
class Sample:
    """Simulated patterns with their truth, as arrays; `kind` indexes `KINDS`."""

    intensity: npt.NDArray[np.float32]
    coverage: npt.NDArray[np.float32]
    diameter: Float
    volume: Float
    dispersion: Float
    fraction: Float
    kind: npt.NDArray[np.int64]
    counts: Float
    resolution: Float

    @property
    def good(self) -> Bool:
        """Patterns that an expert would expect a size from."""
        signal = self.fraction * np.sqrt(self.counts)
        clear = (signal >= GOOD_SIGNAL) & (self.fraction >= GOOD_FRACTION)
        low, high = GOOD_SIZES_NM
        return (self.kind == 0) & clear & (self.diameter >= low) & (self.diameter <= high)

    def take(self, chosen: Bool) -> Sample:
        """Give some of the patterns."""
        return Sample(**{n: getattr(self, n)[chosen] for n in self.__slots__})


def draw(source: PatternSource, count: int, batch: int = 256) -> Sample:
    """Draw at least `count` patterns."""
    batches: list[Batch] = [source.batch(batch) for _ in range(-(-count // batch))]

    def joined(name: str) -> npt.NDArray[np.float32]:
        return torch.cat([getattr(b, name) for b in batches]).cpu().numpy()

    doubles = ("diameter", "volume", "dispersion", "fraction", "counts", "resolution")
    return Sample(
        intensity=joined("intensity"),
        coverage=joined("coverage"),
        kind=joined("kind").astype(np.int64),
        **{n: joined(n).astype(np.float64) for n in doubles},
    )


def temperatures(network: SizingNetwork, sample: Sample) -> Calibration:
    """Temperatures that make the truth of the averages most likely."""
    real = sample.take(sample.kind == 0)
    logits: list[tuple[Float, Float]] = []
    with torch.inference_mode():
        for start in range(0, len(real.diameter), 256):
            part = slice(start, start + 256)
            out = network(
                torch.from_numpy(real.intensity[part]), torch.from_numpy(real.coverage[part])
            )
            logits.append((out.diameter.double().numpy(), out.volume.double().numpy()))
    diameter, volume = (np.concatenate(parts) for parts in zip(*logits, strict=True))
    return Calibration(
        temperature=_temperature(diameter, real.diameter, network.config.diameter),
        volume_temperature=_temperature(volume, real.volume, network.config.volume),
    )


def _temperature(values: Float, truth: Float, axis: Axis) -> float:
    labels = soft_labels(torch.from_numpy(truth), axis).double().numpy()
    grid = np.exp(np.linspace(np.log(0.6), np.log(2.0), 61))
    losses = [-(labels * np.log(softmax(values, t) + 1e-12)).sum(axis=1).mean() for t in grid]
    return float(grid[int(np.argmin(losses))])


def weigh_fits(bare: Calibration, found: Sequence[Examined], sample: Sample) -> Calibration:
    """Choose how much the fit says beside the network: least mean error, per band of share."""
    return bare.model_copy(
        update={
            "fit": tuple(_believed(found, sample, h, volume=False) for h in EVERY),
            "volume_fit": tuple(_believed(found, sample, h, volume=True) for h in EVERY),
        }
    )


def _believed(found: Sequence[Examined], sample: Sample, hypothesis: int, *, volume: bool) -> Four:
    bands: dict[int, list[int]] = {0: [], 1: [], 2: [], 3: []}
    good = sample.good
    for i, one in enumerate(found):
        if good[i] and one.fit.size is not None and one.fit.size.hypothesis == hypothesis:
            bands[share_band(one.reading.fraction)].append(i)
    every = sorted(i for members in bands.values() for i in members)

    def best(band: int) -> float:
        # Where a band has few, all shares tell what such a fit is worth.
        members = bands[band] if len(bands[band]) >= FEW_FITS else every
        if len(members) < FEW_FITS:
            return NO_SAY
        truth = (sample.volume if volume else sample.diameter)[members]
        some = [found[i] for i in members]
        errors = [
            float(np.mean(np.abs(_means(some, option, volume) - truth) / truth))
            for option in BELIEFS
        ]
        most = INDIFFERENT[hypothesis] * min(errors)
        return next(b for b, error in zip(BELIEFS, errors, strict=True) if error <= most)

    return best(0), best(1), best(2), best(3)


def _means(found: list[Examined], factor: float, volume: bool) -> Float:
    means: list[float] = []
    for one in found:
        size = one.fit.size
        if size is None:
            continue
        if volume:
            network, value, sd = one.reading.volume, size.volume, size.volume_sd
        else:
            network, value, sd = one.reading.diameter, size.diameter, size.sd
        means.append(weigh(network, value, factor * sd)[0].mean)
    return np.array(means)


def choose_limits(evidence: list[Evidence], good: Bool) -> Thresholds:
    """Set every limit so that it refuses its share of the good patterns, within reason."""
    kept = [e for e, g in zip(evidence, good, strict=True) if g]
    if not kept:
        return Thresholds()

    def upper(
        values: list[float], least: float, most: float, share: float = REFUSED_PER_LIMIT
    ) -> float:
        return float(np.clip(np.quantile(values, 1.0 - share), least, most))

    return Thresholds(
        nothing=upper([e.nothing for e in kept], 0.25, 0.9),
        # The network is sure of good patterns, and unsure of strangers that resemble PbS.
        foreign=upper([e.foreign for e in kept], 0.02, 0.9, REFUSED_AS_FOREIGN),
        significance=-upper([-e.significance for e in kept], -12.0, -5.0),
        misfit=upper([e.misfit for e in kept], 0.2, 1.0),
        relative_sd=upper([e.sd / e.diameter for e in kept], 0.15, 0.25),
    )


def is_sized(found: Sequence[Examined], limits: Thresholds) -> Bool:
    """Tell which patterns get a size."""
    return np.array([judge(one.evidence, limits) is None for one in found])


def with_card(
    artifact: Artifact, calibration: Calibration, thresholds: Thresholds | None = None
) -> Artifact:
    """Give the same model with other numbers on its card."""
    update: dict[str, object] = {"calibration": calibration}
    if thresholds is not None:
        update["thresholds"] = thresholds
    return replace(artifact, card=artifact.card.model_copy(update=update))
