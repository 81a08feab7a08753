"""How a finished model does on simulations of a seed of their own: the card's own figures."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from qd_agent.inference.distribution import CLASSES_NM
from qd_agent.inference.sizer import Examined
from training.calibrate import Sample

Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

FEW = 40
"""Strata of fewer patterns are left out."""


def figures(found: Sequence[Examined], sample: Sample, sized: Bool) -> dict[str, object]:
    """Errors, coverage and refusals; lengths in nm."""
    good, real = sample.good, sample.kind == 0
    return {
        "refused_of_good": round(float((~sized[good]).mean()), 4),
        "sized_of_nothing": _share(sized[sample.kind == 1]),
        "sized_of_foreign": _share(sized[sample.kind == 2]),
        "expected_calibration_error": round(calibration_error(found, sample, real & sized), 4),
        "strata": {
            name: _over(found, sample, chosen)
            for name, chosen in strata(sample, sized).items()
            if chosen.sum() >= FEW
        },
    }


def strata(sample: Sample, sized: Bool) -> dict[str, Bool]:
    """Name the groups that every figure is given for: bands of true size, share and counts."""
    real, good = (sample.kind == 0) & sized, sample.good & sized
    groups: dict[str, Bool] = {
        "sized": real,
        "good_and_sized": good,
        "full_q_range_good": good & (sample.coverage.mean(axis=1) > 0.9),
        "laboratory_q_range_good": good & (sample.coverage[:, 580:].sum(axis=1) == 0),
    }
    for name, values, edges in (
        ("diameter_nm", sample.diameter, (1.2, 3.0, 5.0, 8.0, 12.0)),
        ("share", sample.fraction, (0.0, 0.05, 0.15, 0.4, 1.01)),
        ("counts", sample.counts, (0.0, 200.0, 2000.0, 20000.0, 1e6)),
    ):
        for low, high in itertools.pairwise(edges):
            groups[f"{name}_{low:g}_to_{high:g}"] = real & (values >= low) & (values < high)
    return groups


def calibration_error(found: Sequence[Examined], sample: Sample, chosen: Bool) -> float:
    """Expected calibration error of the most probable class, ten bins of confidence."""
    members = _rows(chosen)
    if not members:
        return 0.0
    classes = np.array([found[i].answer.classes for i in members])
    true = np.abs(sample.diameter[members][:, None] - CLASSES_NM).argmin(axis=1)
    confidence, right = classes.max(axis=1), classes.argmax(axis=1) == true
    which = np.minimum((10 * confidence).astype(int), 9)
    gaps = [
        (which == b).mean() * abs(confidence[which == b].mean() - right[which == b].mean())
        for b in range(10)
        if (which == b).any()
    ]
    return float(sum(gaps))


def _rows(chosen: Bool) -> list[int]:
    return [int(i) for i in np.flatnonzero(chosen)]


def _share(chosen: Bool) -> float:
    return round(float(chosen.mean()), 4) if chosen.size else 0.0


def _over(found: Sequence[Examined], sample: Sample, chosen: Bool) -> dict[str, float]:
    members = _rows(chosen)
    answers = [found[i].answer for i in members]
    truth, volume = sample.diameter[members], sample.volume[members]
    error = np.array([a.diameter for a in answers]) - truth
    network = np.array([found[i].reading.diameter.mean for i in members]) - truth
    low, high = np.array([a.interval for a in answers]).T
    volume_low, volume_high = np.array([a.interval_volume for a in answers]).T
    volume_error = np.abs(np.array([a.volume for a in answers]) - volume)
    return {
        "patterns": len(members),
        "mean_error_nm": round(float(np.abs(error).mean()), 4),
        "median_error_nm": round(float(np.median(np.abs(error))), 4),
        "bias_nm": round(float(error.mean()), 4),
        "network_alone_mean_error_nm": round(float(np.abs(network).mean()), 4),
        "interval_coverage": round(float(((low <= truth) & (truth <= high)).mean()), 4),
        "mean_interval_nm": round(float((high - low).mean()), 4),
        "volume_mean_error_nm": round(float(volume_error.mean()), 4),
        "volume_interval_coverage": round(
            float(((volume_low <= volume) & (volume <= volume_high)).mean()), 4
        ),
    }
