"""`qd-agent size --refine`: the second opinion on files that were sized, as lines or as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qd_agent.core.errors import BadFrame, Mistake
from qd_agent.core.pattern import Pattern, resample
from qd_agent.core.prediction import Verdict
from qd_agent.frames.pattern_file import read_pattern, wavelength_from_name
from qd_agent.sizing import FileAnswer, Unit

if TYPE_CHECKING:
    from qd_agent.inference.refinement import Measured, Refinement, Refiner

_SYMBOLS = (
    ("b_lead", "B(Pb)", "Å²", 2),
    ("b_sulfur", "B(S)", "Å²", 2),
    ("lattice_scale", "lattice scale", "", 5),
    ("zero_shift", "zero shift", "1/Å", 5),
    ("broadening", "broadening (sd)", "1/Å", 4),
    ("microstrain", "microstrain", "", 5),
)


@dataclass(frozen=True, slots=True)
class RefineRequest:
    """What the command line asks of a refinement.

    Attributes:
        start_nm: start here, whatever the sizer says; None starts from its answer.
        free: no priors on dispersion and B.
        solvent: file of a measured solvent, in the unit of the patterns; or None.
    """

    start_nm: float | None = None
    free: bool = False
    solvent: Path | None = None


@dataclass(frozen=True, slots=True)
class RefinedFile:
    """A file's answer and its refinement.

    `reason` says why there is none; `failed` that one was tried.
    """

    answer: FileAnswer
    refinement: Refinement | None = None
    reason: str = ""
    failed: bool = False

    def record(self) -> dict[str, object]:
        """Give the record that `qd-agent size --refine --json` prints."""
        found = None if self.refinement is None else self.refinement.record()
        return {**self.answer.record(), "refinement": found, "refinement_reason": self.reason}


def read_solvent(path: Path, unit: Unit, wavelength: float | None) -> Pattern:
    """Read a measured solvent onto the published grid.

    Raises:
        Mistake: it cannot be used; one line.
    """
    known = wavelength_from_name(path) or wavelength
    try:
        return resample(read_pattern(path, unit, known))
    except BadFrame as error:
        raise Mistake(f"the solvent cannot be used: {error}") from error


def refine_answer(
    refiner: Refiner, answer: FileAnswer, request: RefineRequest, solvent: Pattern | None
) -> RefinedFile:
    """Refine one sized pattern; one that the sizer refused only from a given start."""
    from qd_agent.inference.refinement import (  # noqa: PLC0415 - scipy, torch: only when refining
        Options,
        Start,
    )

    estimate = answer.estimate
    if answer.sized is None:
        return RefinedFile(answer)
    size = request.start_nm if request.start_nm is not None else estimate.diameter_nm
    if size is None or (request.start_nm is None and estimate.verdict is not Verdict.SIZED):
        return RefinedFile(answer, reason=estimate.reason)
    spread = 0.15 if estimate.dispersion is None else estimate.dispersion
    options = Options(request.free, answer.wavelength, solvent)
    try:
        found = refiner.refine(answer.sized.pattern, Start(size, spread), options)
    except BadFrame as error:
        return RefinedFile(answer, reason=str(error), failed=True)
    return RefinedFile(answer, found)


def refined_lines(refined: RefinedFile) -> list[str]:
    """Say what the refinement found, in lines for people."""
    found = refined.refinement
    if found is None:
        return [f"not refined: {refined.reason}"] if refined.failed else []
    shown = found.parameters
    details = [
        f"{symbol} {'at its limit ' if name in found.held else ''}"
        f"{_number(shown[name], places)}{' ' + unit if unit else ''}"
        for name, symbol, unit, places in _SYMBOLS
    ]
    return [f"refined: {refined_headline(found)}", ", ".join(details), *_quality(refined, found)]


def refined_headline(found: Refinement) -> str:
    """Give the averages, the dispersion, the share and Rwp in one line."""
    percent = f"{found.dispersion.value:.1%} ± {found.dispersion.error:.1%}"
    if "dispersion" in found.held:
        percent += " (at its limit)"
    return (
        f"{_number(found.number, 3)} nm, volume-weighted {_number(found.volume, 3)} nm, "
        f"dispersion {percent}, share {found.share:.0%}, Rwp {found.rwp:.2%}"
    )


def _quality(refined: RefinedFile, found: Refinement) -> list[str]:
    first, second, correlation = found.worst_pair
    source = "of the file" if found.measured_sigma else "estimated as counting noise"
    lines = [
        f"Rwp {found.rwp:.2%}, Rexp {found.rexp:.2%}, reduced χ² {found.reduced_chi2:.2f} (sigma "
        f"{source}); residuals are {found.inflation**0.5:.2f} times that, "
        f"{found.missed:.1%} of the nanocrystals' part is taken as missed by the model",
        f"strongest correlation {first} with {second} ({correlation:+.2f}); "
        f"{'converged' if found.converged else 'NOT CONVERGED'}, {found.agreeing} of "
        f"{found.starts} starts agree, {found.evaluations} evaluations",
    ]
    size = refined.answer.estimate.diameter_nm
    if size is not None:
        lines.append(f"network minus refinement {size - found.number.value:+.3f} nm")
    return lines


def _number(measured: Measured, places: int) -> str:
    if not measured.error > 0:
        return f"{measured.value:.{places}f}"
    return f"{measured.value:.{places}f} ± {measured.error:.{places}f}"
