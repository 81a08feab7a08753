"""Rows of the table of targets that need the reference data, which is read and never written."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from qd_agent.core.errors import BadFrame
from qd_agent.core.pattern import Pattern, RawPattern, resample
from qd_agent.core.ports import Sizer
from training.evaluate import Outcome, exact_averages, pattern_files
from training.evaluation_figures import Scored
from training.pattern_files import read_pattern, truth_of
from training.target_rows import Row, Tally, note_of, skipped, tally

SOLVENT_WAVELENGTH = 0.564162
"""Å, of the measured solvents."""

CERIA_WAVELENGTH = 0.4066
"""Å, when the geometry beside the pattern does not tell."""


@dataclass(frozen=True, slots=True)
class Case:
    """A reference pattern with its truth."""

    name: str
    group: str
    pattern: Pattern
    truth_nm: float | None
    volume_nm: float | None
    label_nm: float | None
    wavelength: float | None


def find_reference(given: Path | None) -> Path | None:
    """Give the folder of reference data: the given one, or `shared/reference` beside the checkout.

    None where there is none.
    """
    folder = given or Path(__file__).resolve().parents[2] / "shared" / "reference"
    return folder if folder.is_dir() else None


def cases(folder: Path, wavelength: float | None = None) -> list[Case]:
    """Every readable pattern of a folder; `wavelength` (Å) for names that tell none."""
    found: list[Case] = []
    for path in pattern_files([folder]) if folder.exists() else []:
        truth = truth_of(path)
        number, volume = exact_averages(truth)
        try:
            pattern = read_pattern(path, truth.wavelength or wavelength)
        except (BadFrame, OSError):
            continue
        group = Outcome(path, truth, number, volume, None).group
        found.append(
            Case(path.name, group, pattern, number, volume, truth.label_nm, truth.wavelength)
        )
    return found


def scored(
    sizer: Sizer, found: Sequence[Case], change: Callable[[Pattern], Pattern] | None = None
) -> list[Scored]:
    """Size cases, each changed first."""
    patterns = [c.pattern if change is None else change(c.pattern) for c in found]
    return [
        Scored(
            name=case.name,
            group=case.group,
            truth_nm=case.truth_nm,
            volume_nm=case.volume_nm,
            label_nm=case.label_nm,
            estimate=answer.estimate,
        )
        for case, answer in zip(found, sizer.size(patterns), strict=True)
    ]


def cropped(pattern: Pattern, q_min: float) -> Pattern:
    """Take away everything below `q_min`, 1/Å."""
    keep = pattern.q >= q_min
    return replace(
        pattern,
        intensity=pattern.intensity * keep,
        sigma=pattern.sigma * keep,
        coverage=pattern.coverage * keep,
    )


def stretched(pattern: Pattern, factor: float) -> Pattern:
    """Give the pattern as read with a Q scale that is wrong by `factor`."""
    used = pattern.coverage > 0
    raw = RawPattern(pattern.q[used] * factor, pattern.intensity[used], pattern.sigma[used])
    return resample(raw)


def debussy_row(sizer: Sizer, folder: Path | None) -> Row:
    """Published simulations."""
    name, published = "DebUsSy patterns, within 0.25 nm of the number average", "45/46 classes"
    target = "all but one, and there the interval covers · mean ≤ 0.05 nm"
    found = [] if folder is None else cases(folder / "patterns_debussy")
    if not found:
        return skipped(name, published, target, "no patterns_debussy in the reference folder")
    t = tally(scored(sizer, found))
    met = t.near >= t.patterns - 1 and t.near_or_covered == t.patterns and t.mean_error_nm <= 0.05
    return _row(name, published, target, t, met)


def measured_rows(sizer: Sizer, folder: Path | None) -> list[Row]:
    """Measured patterns as they are, cropped, and with a wrong Q scale."""
    found = [] if folder is None else cases(folder / "patterns_measured")
    synchrotron = [c for c in found if c.group == "synchrotron"]
    laboratory = [c for c in found if c.group == "laboratory"]
    rows = [_synchrotron(sizer, synchrotron), _laboratory(sizer, laboratory)]
    rows += [_cropped(sizer, synchrotron, q_min) for q_min in (2.0, 2.2)]
    return rows + [_stretched(sizer, synchrotron, factor) for factor in (1.01, 0.99)]


NOTHING = "no such patterns in the reference folder"


def _synchrotron(sizer: Sizer, found: list[Case]) -> Row:
    name, published = "measured synchrotron, within 0.25 nm of the label", "12/14 · 0.112 · 0.26"
    target = "all · mean ≤ 0.08 · worst ≤ 0.2 nm"
    if not found:
        return skipped(name, published, target, NOTHING)
    t = tally(scored(sizer, found))
    met = t.near == t.patterns and t.mean_error_nm <= 0.08 and t.largest_error_nm <= 0.2
    return _row(name, published, target, t, met)


def _laboratory(sizer: Sizer, found: list[Case]) -> Row:
    name, published = "measured laboratory, the same", "5/8 · 0.247 · 0.53"
    target = "≥ 7/8 · mean ≤ 0.15 nm; the rest abstain or their interval covers"
    if not found:
        return skipped(name, published, target, NOTHING)
    t = tally(scored(sizer, found))
    excused = t.near_or_covered + t.abstained == t.patterns
    met = 8 * t.near >= 7 * t.patterns and t.mean_error_nm <= 0.15 and excused
    return _row(name, published, target, t, met)


def _cropped(sizer: Sizer, found: list[Case], q_min: float) -> Row:
    name, published = f"synchrotron cropped to Q ≥ {q_min:g}", "2/14, confidence 0.999"
    target = "within 0.25 nm or abstains, every one"
    if not found:
        return skipped(name, published, target, NOTHING)
    t = tally(scored(sizer, found, lambda p: cropped(p, q_min)))
    return _row(name, published, target, t, t.near_or_abstains == t.patterns)


def _stretched(sizer: Sizer, found: list[Case], factor: float) -> Row:
    name, published = f"Q scale {factor - 1:+.0%}", "7–8 of 14"
    target = "within 0.25 nm, or the interval covers, ≥ 13 of 14"
    if not found:
        return skipped(name, published, target, NOTHING)
    t = tally(scored(sizer, found, lambda p: stretched(p, factor)))
    row = _row(name, published, target, t, 14 * t.near_or_covered >= 13 * t.patterns)
    return replace(row, ours=f"{t.near_or_covered}/{t.patterns} near or covered; {row.ours}")


def _row(name: str, published: str, target: str, t: Tally, met: bool) -> Row:
    figures: dict[str, object] = {n: getattr(t, n) for n in t.__slots__}
    return Row(name, published, target, t.text, met, note_of(t), figures)


def foreign_patterns(folder: Path | None) -> list[tuple[str, str, Pattern]]:
    """Measured (family, name, pattern) that must get no size: solvents, CeO2."""
    if folder is None:
        return []
    found = [
        ("measured solvent", c.name, c.pattern)
        for c in cases(folder / "solvents", SOLVENT_WAVELENGTH)
    ]
    for path in sorted((folder / "frames").glob("*.xy")):
        pattern = read_pattern(path, _wavelength(path.with_suffix(".poni")))
        found.append(("measured CeO2", path.name, pattern))
    return found


def _wavelength(poni: Path) -> float:
    """Wavelength in Å of a geometry file."""
    text = poni.read_text(encoding="utf-8", errors="replace") if poni.exists() else ""
    told = re.search(r"^Wavelength:\s*([\d.eE+-]+)", text, re.MULTILINE)
    return float(np.float64(told[1]) * 1e10) if told else CERIA_WAVELENGTH
