"""Calibration and limits, from simulations that training never saw (another seed)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from qd_agent.inference import distribution
from qd_agent.inference.artifact import Artifact, Calibration, Thresholds
from qd_agent.inference.distribution import softmax
from qd_agent.inference.domain import Evidence, judge
from qd_agent.inference.network import Axis, SizingNetwork
from qd_agent.inference.sizer import NetworkSizer
from training.dataset import Batch, PatternSource
from training.train import soft_labels

Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

COVERAGE = 0.9
REFUSED_PER_LIMIT = 0.002
"""Share of good patterns that each of the five limits may refuse: together at most 1 %."""

GOOD_SIGNAL, GOOD_FRACTION = 1.0, 0.02
"""A good pattern has fraction × √(counts per point) above this, and at least this share. At 2 %
and 2500 counts, or 10 % and 100, the strongest peaks stand a few sigma above the noise."""


GOOD_SIZES_NM = (1.5, 10.5)
"""And a size a little inside the range that may be given."""


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
        return torch.cat([getattr(b, name) for b in batches]).numpy()

    doubles = ("diameter", "volume", "dispersion", "fraction", "counts")
    return Sample(
        intensity=joined("intensity"),
        coverage=joined("coverage"),
        kind=joined("kind").astype(np.int64),
        **{n: joined(n).astype(np.float64) for n in doubles},
    )


def logits(network: SizingNetwork, sample: Sample) -> tuple[Float, Float, Float]:
    """Logits of diameter, volume-weighted diameter and root of share, shape (n, bins)."""
    diameter: list[Float] = []
    volume: list[Float] = []
    share: list[Float] = []
    with torch.inference_mode():
        for start in range(0, len(sample.diameter), 256):
            part = slice(start, start + 256)
            out = network(
                torch.from_numpy(sample.intensity[part]), torch.from_numpy(sample.coverage[part])
            )
            diameter.append(out.diameter.double().numpy())
            volume.append(out.volume.double().numpy())
            share.append(out.root_share.double().numpy())
    return np.concatenate(diameter), np.concatenate(volume), np.concatenate(share)


def calibrate(network: SizingNetwork, sample: Sample) -> Calibration:
    """Temperature that makes the truth most likely, then widenings that cover 90 %.

    The widening is its own for three groups of the predicted share: faint patterns fail otherwise.
    """
    real = sample.take(sample.kind == 0)
    diameter, volume, share = logits(network, real)
    config = network.config
    group = distribution.share_group((softmax(share) @ config.root_share.centres()) ** 2)
    temperature = _temperature(diameter, real.diameter, config.diameter)
    volume_temperature = _temperature(volume, real.volume, config.volume)
    return Calibration(
        temperature=temperature,
        widen=_widenings(softmax(diameter, temperature), real.diameter, config.diameter, group),
        volume_temperature=volume_temperature,
        volume_widen=_widenings(
            softmax(volume, volume_temperature), real.volume, config.volume, group
        ),
    )


def _temperature(values: Float, truth: Float, axis: Axis) -> float:
    labels = soft_labels(torch.from_numpy(truth), axis).double().numpy()
    grid = np.exp(np.linspace(np.log(0.6), np.log(2.0), 61))
    losses = [-(labels * np.log(softmax(values, t) + 1e-12)).sum(axis=1).mean() for t in grid]
    return float(grid[int(np.argmin(losses))])


def _widenings(
    probabilities: Float, truth: Float, axis: Axis, group: npt.NDArray[np.intp]
) -> tuple[float, float, float]:
    """Split-conformal, per group: the 90 % quantile of how far truth lies outside, in sd."""
    centres = axis.centres()
    _, sd = distribution.moments(probabilities, centres)
    low, high = distribution.interval(probabilities, centres, 0.0, COVERAGE)
    outside = np.maximum(low - truth, truth - high) / np.maximum(sd, 1e-3)
    first, second, third = (
        float(np.quantile(outside[group == g], COVERAGE)) if (group == g).any() else 0.0
        for g in range(3)
    )
    return first, second, third


def examine(sizer: NetworkSizer, sample: Sample, report: Callable[[int], None]) -> list[Evidence]:
    """Evidence of every pattern; about 15 ms each, `report` is told how many are done."""
    evidence: list[Evidence] = []
    for start in range(0, len(sample.diameter), 64):
        part = slice(start, start + 64)
        examined = sizer.examine(sample.intensity[part], sample.coverage[part])
        evidence += [e for _, _, e in examined]
        report(len(evidence))
    return evidence


def choose_limits(evidence: list[Evidence], good: Bool) -> Thresholds:
    """Limits that each refuse 0.2 % of the good patterns, within what makes sense at all."""
    kept = [e for e, ok in zip(evidence, good, strict=True) if ok]

    def upper(values: list[float], least: float, most: float) -> float:
        return float(np.clip(np.quantile(values, 1.0 - REFUSED_PER_LIMIT), least, most))

    return Thresholds(
        nothing=upper([e.nothing for e in kept], 0.25, 0.9),
        foreign=upper([e.foreign for e in kept], 0.25, 0.9),
        significance=-upper([-e.significance for e in kept], -12.0, -5.0),
        misfit=upper([e.misfit for e in kept], 0.2, 1.0),
        relative_sd=upper([e.sd / e.diameter for e in kept], 0.1, 0.25),
    )


def with_card(
    artifact: Artifact, calibration: Calibration, thresholds: Thresholds | None = None
) -> Artifact:
    """Give the same model with other numbers on its card."""
    update: dict[str, object] = {"calibration": calibration}
    if thresholds is not None:
        update["thresholds"] = thresholds
    return replace(artifact, card=artifact.card.model_copy(update=update))


def validation_figures(
    sizer: NetworkSizer, sample: Sample, evidence: list[Evidence], thresholds: Thresholds
) -> dict[str, object]:
    """Measure on simulations of a third seed: errors, coverage, refusals; lengths in nm."""
    sized = np.array([judge(e, thresholds) is None for e in evidence])
    readings = sizer.read(sample.intensity, sample.coverage)
    mean = np.array([r.diameter for r in readings])
    low, high = (np.array([r.interval[side] for r in readings]) for side in (0, 1))
    volume = np.array([r.volume for r in readings])
    volume_low, volume_high = (
        np.array([r.interval_volume[side] for r in readings]) for side in (0, 1)
    )

    def over(chosen: Bool) -> dict[str, float]:
        error = np.abs(mean - sample.diameter)[chosen]
        inside = ((low <= sample.diameter) & (sample.diameter <= high))[chosen]
        volume_inside = ((volume_low <= sample.volume) & (sample.volume <= volume_high))[chosen]
        return {
            "patterns": int(chosen.sum()),
            "mean_error_nm": round(float(error.mean()), 4),
            "median_error_nm": round(float(np.median(error)), 4),
            "interval_coverage": round(float(inside.mean()), 4),
            "mean_interval_nm": round(float((high - low)[chosen].mean()), 4),
            "volume_mean_error_nm": round(float(np.abs(volume - sample.volume)[chosen].mean()), 4),
            "volume_interval_coverage": round(float(volume_inside.mean()), 4),
        }

    good = sample.good
    full = good & (sample.coverage.mean(axis=1) > 0.9)
    real = sample.kind == 0
    strata = {
        "sized": real & sized,
        "good_and_sized": good & sized,
        "share_2_to_10_percent": real & sized & (sample.fraction >= 0.02) & (sample.fraction < 0.1),
        "share_10_to_50_percent": real & sized & (sample.fraction >= 0.1) & (sample.fraction < 0.5),
        "share_above_50_percent": real & sized & (sample.fraction >= 0.5),
        "full_q_range_good": full & sized,
        "laboratory_q_range_good": good & sized & (sample.coverage[:, 580:].sum(axis=1) == 0),
    }
    return {
        "refused_of_good": round(float((~sized[good]).mean()), 4),
        "sized_of_nothing": round(float(sized[sample.kind == 1].mean()), 4),
        "sized_of_foreign": round(float(sized[sample.kind == 2].mean()), 4),
        "strata": {name: over(chosen) for name, chosen in strata.items() if chosen.sum() > 20},
    }
