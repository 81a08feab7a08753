"""Sizes pattern files whose truth is in their names, and says how well that went."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qd_agent.core.errors import BadFrame
from qd_agent.core.ports import Sizer
from qd_agent.core.prediction import Estimate, Verdict
from qd_agent.scattering.ensemble import averages, cluster_diameters, lognormal_weights
from training.pattern_files import Truth, read_pattern, truth_of

SUFFIXES = (".cal", ".xy", ".xye", ".dat", ".txt", ".chi")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One file: what is known and what was said; `error` when it could not be read.

    `truth_nm` and `truth_volume_nm` are the exact averages over the cluster grid for simulations;
    for measurements both are the label, which does not say which average it is.
    """

    path: Path
    truth: Truth
    truth_nm: float | None
    truth_volume_nm: float | None
    estimate: Estimate | None
    error: str = ""

    @property
    def difference(self) -> float | None:
        """Prediction minus truth, nm; None without one of them."""
        if self.estimate is None or self.estimate.diameter_nm is None or self.truth_nm is None:
            return None
        return self.estimate.diameter_nm - self.truth_nm

    @property
    def group(self) -> str:
        """Kind of data, from the name."""
        if self.truth.dispersion is not None:
            return "simulated"
        if self.truth.label_nm is None:
            return "without_nanocrystals"
        return "laboratory" if (self.truth.wavelength or 0.0) > 1.0 else "synchrotron"


def exact_averages(truth: Truth) -> tuple[float | None, float | None]:
    """(number, volume-weighted) average over the cluster grid, nm, for a simulation's truth."""
    if truth.label_nm is None or truth.dispersion is None:
        return truth.label_nm, truth.label_nm
    grid = cluster_diameters(25.0)
    number, volume = averages(grid, lognormal_weights(grid, truth.label_nm, truth.dispersion))
    return float(number), float(volume)


def pattern_files(paths: Iterable[Path]) -> list[Path]:
    """Give the files, and those in the folders, that look like text patterns; sorted."""
    found: list[Path] = []
    for path in paths:
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        found += [p for p in inside if p.is_file() and (p == path or p.suffix in SUFFIXES)]
    return found


def evaluate(sizer: Sizer, paths: Iterable[Path], wavelength: float | None = None) -> list[Outcome]:
    """Size every file; `wavelength` (Å) is for those whose name does not tell one."""
    outcomes: list[Outcome] = []
    for path in pattern_files(paths):
        truth = truth_of(path)
        try:
            pattern = read_pattern(path, truth.wavelength or wavelength)
        except (BadFrame, OSError) as error:
            outcomes.append(Outcome(path, truth, *exact_averages(truth), None, str(error)))
            continue
        estimate = sizer.size([pattern])[0].estimate
        outcomes.append(Outcome(path, truth, *exact_averages(truth), estimate))
    return outcomes


def summary(outcomes: list[Outcome]) -> dict[str, dict[str, float | int]]:
    """Figures per group: how many, sized, in the right 0.5 nm class, errors, coverage."""
    figures: dict[str, dict[str, float | int]] = {}
    for group in sorted({o.group for o in outcomes}):
        members = [o for o in outcomes if o.group == group]
        figures[group] = {"files": len(members), "sized": sum(map(_is_sized, members))}
        known = [o for o in members if o.difference is not None]
        if known:
            figures[group] |= _accuracy(known)
    return figures


def _is_sized(outcome: Outcome) -> bool:
    return outcome.estimate is not None and outcome.estimate.verdict is Verdict.SIZED


def _accuracy(known: list[Outcome]) -> dict[str, float | int]:
    errors = np.array([o.difference for o in known], dtype=np.float64)
    in_class = within = volume_error = 0.0
    for o in known:
        estimate = o.estimate
        if estimate is None or estimate.interval_nm is None or o.truth.label_nm is None:
            continue
        nearest = round(2.0 * o.truth.label_nm) / 2.0
        in_class += estimate.class_nm == nearest
        within += estimate.interval_nm[0] <= (o.truth_nm or 0.0) <= estimate.interval_nm[1]
        volume_error += abs((estimate.diameter_volume_nm or 0.0) - (o.truth_volume_nm or 0.0))
    return {
        "right_class": int(in_class),
        "within_quarter_nm": int((np.abs(errors) <= 0.25).sum()),
        "mean_error_nm": round(float(np.abs(errors).mean()), 4),
        "bias_nm": round(float(errors.mean()), 4),
        "largest_error_nm": round(float(np.abs(errors).max()), 4),
        "in_interval": int(within),
        "volume_average_mean_error_nm": round(volume_error / len(known), 4),
    }
