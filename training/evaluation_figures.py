"""How good a set of answers is: errors, coverage and calibration, over all and per band."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from qd_agent.core.prediction import Estimate, Verdict

Float = npt.NDArray[np.float64]

CLASSES_NM: Float = np.arange(2.0, 10.01, 0.5)
"""The published classes, nm."""

SIZE_EDGES: tuple[float, ...] = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)
SHARE_EDGES: tuple[float, ...] = (0.0, 0.02, 0.05, 0.15, 0.37, 0.65, 1.0)
DISPERSION_EDGES: tuple[float, ...] = (0.0, 0.08, 0.12, 0.16, 0.20, 0.40)
COUNTS_EDGES: tuple[float, ...] = (0.0, 100.0, 300.0, 1000.0, 10000.0, 1e9)
"""Mean counts per point of the grid."""

ROUNDING = 1e-6
"""A diameter that was meant to be 2 nm belongs to 2 nm and above."""

CONFIDENCE_BINS = 10
"""For the expected calibration error (Guo et al. 2017, arXiv:1706.04599)."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One pattern with what is known and what was answered; lengths in nm.

    `label_nm` decides the class where it differs from the exact average. `estimate` is None where
    the file could not be read.
    """

    name: str
    group: str = ""
    truth_nm: float | None = None
    volume_nm: float | None = None
    label_nm: float | None = None
    dispersion: float | None = None
    share: float | None = None
    counts: float | None = None
    bound_nm: float | None = None
    estimate: Estimate | None = None

    @property
    def sized(self) -> bool:
        """A size was given."""
        return self.estimate is not None and self.estimate.verdict is Verdict.SIZED

    @property
    def error_nm(self) -> float | None:
        """Answer minus truth; None without one of them."""
        if self.estimate is None or self.estimate.diameter_nm is None or self.truth_nm is None:
            return None
        return self.estimate.diameter_nm - self.truth_nm

    @property
    def covered(self) -> bool:
        """The 90 % interval holds the truth."""
        if self.estimate is None or self.estimate.interval_nm is None or self.truth_nm is None:
            return False
        low, high = self.estimate.interval_nm
        return low <= self.truth_nm <= high

    @property
    def true_class_nm(self) -> float | None:
        """Published class that is nearest to the label, else to the truth."""
        value = self.truth_nm if self.label_nm is None else self.label_nm
        return None if value is None else nearest_class(value)


def nearest_class(diameter_nm: float) -> float:
    """Published class nearest to a diameter; sizes beyond go to the outermost."""
    return float(CLASSES_NM[int(np.abs(CLASSES_NM - diameter_nm).argmin())])


def calibration_error(confidence: Float, right: npt.NDArray[np.bool_]) -> float:
    """Expected calibration error: mean |accuracy − confidence| over bins, weighted by members."""
    if confidence.size == 0:
        return 0.0
    which = np.minimum((confidence * CONFIDENCE_BINS).astype(int), CONFIDENCE_BINS - 1)
    total = 0.0
    for b in np.unique(which):
        members = which == b
        total += members.sum() * abs(right[members].mean() - confidence[members].mean())
    return float(total / confidence.size)


def class_answers(scored: Sequence[Scored]) -> tuple[Float, Float, Float]:
    """(true class, answered class, its probability) of those with both, each of shape (n,)."""
    rows = [
        (s.true_class_nm, s.estimate.class_nm, max(s.estimate.class_probabilities, default=0.0))
        for s in scored
        if s.estimate is not None and s.estimate.class_nm is not None and s.true_class_nm
    ]
    table = np.array(rows, dtype=np.float64).reshape(len(rows), 3)
    return table[:, 0], table[:, 1], table[:, 2]


def figures(scored: Sequence[Scored]) -> dict[str, float | int]:
    """All figures of a set; those that need a known size are left out where there is none."""
    found: dict[str, float | int] = {
        "patterns": len(scored),
        "sized": sum(s.sized for s in scored),
    }
    known = [s for s in scored if s.error_nm is not None]
    if not known:
        return found
    errors = np.array([s.error_nm for s in known], dtype=np.float64)
    true, answered, confidence = class_answers(known)
    found |= {
        "right_class": int((true == answered).sum()),
        "class_accuracy": _rounded((true == answered).mean()),
        "within_quarter_nm": int((np.abs(errors) <= 0.25).sum()),
        "mean_error_nm": _rounded(np.abs(errors).mean()),
        "bias_nm": _rounded(errors.mean()),
        "rmse_nm": _rounded(np.sqrt((errors**2).mean())),
        "largest_error_nm": _rounded(np.abs(errors).max()),
        "in_interval": sum(s.covered for s in known),
        "interval_coverage": _rounded(np.mean([s.covered for s in known])),
        "class_calibration_error": _rounded(calibration_error(confidence, true == answered)),
    }
    volume = [
        abs(s.estimate.diameter_volume_nm - s.volume_nm)
        for s in known
        if s.estimate is not None
        and s.estimate.diameter_volume_nm is not None
        and s.volume_nm is not None
    ]
    if volume:
        found["volume_average_mean_error_nm"] = _rounded(np.mean(volume))
    bounds = [s.bound_nm for s in known if s.bound_nm is not None]
    if len(bounds) == len(known):
        limit = float(np.sqrt(np.mean(np.square(bounds))))
        found["bound_nm"] = round(limit, 5)
        found["rmse_over_bound"] = _rounded(np.sqrt((errors**2).mean()) / limit)
    return found


def _rounded(value: float | np.floating) -> float:
    return round(float(value), 4)


Tables = dict[str, dict[str, dict[str, float | int]]]
"""Quantity → band → figures."""


def by_band(scored: Sequence[Scored]) -> Tables:
    """Figures per group and per band of size, share, dispersion and counts, where known."""
    quantities: dict[str, tuple[Callable[[Scored], float | None], tuple[float, ...]]] = {
        "diameter (nm)": (lambda s: s.truth_nm, SIZE_EDGES),
        "nanocrystal share": (lambda s: s.share, SHARE_EDGES),
        "dispersion": (lambda s: s.dispersion, DISPERSION_EDGES),
        "counts per point": (lambda s: s.counts, COUNTS_EDGES),
    }
    tables: Tables = {}
    for name, (value, edges) in quantities.items():
        bands = _banded(scored, value, edges)
        if bands:
            tables[name] = bands
    return tables


def by_group(scored: Sequence[Scored]) -> dict[str, dict[str, float | int]]:
    """Figures of each group."""
    names = sorted({s.group for s in scored})
    return {name: figures([s for s in scored if s.group == name]) for name in names}


def _banded(
    scored: Sequence[Scored], value: Callable[[Scored], float | None], edges: tuple[float, ...]
) -> dict[str, dict[str, float | int]]:
    bands: dict[str, dict[str, float | int]] = {}
    for low, high in pairwise(edges):
        top = high if high < edges[-1] else high + 1.0
        inside = [s for s in scored if (v := value(s)) is not None and low <= v + ROUNDING < top]
        if inside:
            bands[f"≥ {low:g}" if high >= 1e9 else f"{low:g}–{high:g}"] = figures(inside)
    return bands
