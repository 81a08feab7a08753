"""Row of the table of targets: the network against the refinement of the same patterns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qd_agent.core.errors import BadFrame
from qd_agent.core.ports import Sizer
from training.reference_rows import NOTHING, Case, cases
from training.simulated_rows import Progress
from training.target_rows import Row, skipped

if TYPE_CHECKING:
    from qd_agent.inference.refinement import Refiner

NAME = "network against its own refinement, measured patterns"
TARGET = "≤ 0.1 nm each"
MOST_NM = 0.1


@dataclass(frozen=True, slots=True)
class Comparison:
    """One pattern: both answers in nm, and how well the refinement explains it."""

    name: str
    group: str
    label_nm: float | None
    network_nm: float
    refined_nm: float
    refined_error_nm: float
    rwp: float

    @property
    def difference(self) -> float:
        """Network minus refinement, nm."""
        return self.network_nm - self.refined_nm


def refinement_row(sizer: Sizer, refiner: Refiner, folder: Path | None, progress: Progress) -> Row:
    """Refine every measured pattern from the network's answer; those without a size are named."""
    found = [] if folder is None else cases(folder / "patterns_measured")
    if not found:
        return skipped(NAME, "–", TARGET, NOTHING)
    compared: list[Comparison] = []
    without: list[str] = []
    for case in found:
        answer = _compare(sizer, refiner, case)
        if isinstance(answer, str):
            without.append(answer)
        else:
            compared.append(answer)
        progress("refining", len(compared) + len(without))
    near = sum(abs(c.difference) <= MOST_NM for c in compared)
    worst = max((abs(c.difference) for c in compared), default=float("nan"))
    mean = sum(abs(c.difference) for c in compared) / max(1, len(compared))
    notes = [
        f"{c.name}: {c.difference:+.2f} nm, refined {c.refined_nm:.2f} ± {c.refined_error_nm:.2f}, "
        f"Rwp {c.rwp:.1%}"
        for c in compared
        if abs(c.difference) > MOST_NM
    ]
    return Row(
        NAME,
        "–",
        TARGET,
        f"{near}/{len(found)} · mean {mean:.3f} · worst {worst:.2f} nm",
        near == len(found),
        "; ".join(notes + without),
        {
            "compared": [{n: getattr(c, n) for n in c.__slots__} for c in compared],
            "without": without,
        },
    )


def _compare(sizer: Sizer, refiner: Refiner, case: Case) -> Comparison | str:
    from qd_agent.inference.refinement import Options, Start  # noqa: PLC0415 - scipy, torch

    estimate = sizer.size([case.pattern])[0].estimate
    if estimate.diameter_nm is None:
        return f"{case.name}: {estimate.verdict}, nothing to compare"
    start = Start(estimate.diameter_nm, estimate.dispersion or 0.15)
    try:
        refined = refiner.refine(case.pattern, start, Options(wavelength=case.wavelength))
    except BadFrame as error:
        return f"{case.name}: not refined: {error}"
    return Comparison(
        name=case.name,
        group=case.group,
        label_nm=case.label_nm,
        network_nm=estimate.diameter_nm,
        refined_nm=refined.number.value,
        refined_error_nm=refined.number.error,
        rwp=refined.rwp,
    )
