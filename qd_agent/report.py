"""What the commands `size` and `status` print."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from qd_agent.core.errors import Mistake
from qd_agent.core.prediction import Estimate, Verdict
from qd_agent.figures import draw_patterns, headline
from qd_agent.sizing import FileAnswer, Unit, size_files


def print_answers(
    files: Sequence[Path],
    unit: Unit,
    wavelength: float | None,
    *,
    as_json: bool,
    plot: Path | None,
    model: Path | None,
) -> int:
    """Size files and print an answer for each as soon as it is known.

    Returns:
        How many of the files could not be read as patterns.
    """
    from qd_agent.inference import SizerSettings, open_sizer  # noqa: PLC0415 - torch

    sizer = open_sizer(SizerSettings(model=model))
    answers: list[FileAnswer] = []
    for answer in size_files(files, sizer, unit, wavelength):
        answers.append(answer)
        _print(answer, as_json=as_json)
    if plot is not None:
        drawn = [(a.path.name, a.sized) for a in answers if a.sized is not None]
        if not drawn:
            raise Mistake(f"nothing to draw in {plot}: no file could be read")
        draw_patterns(drawn, plot)
    return sum(answer.sized is None for answer in answers)


def _print(answer: FileAnswer, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(answer.record()) + "\n")
    elif answer.sized is None:
        sys.stderr.write(f"{answer.path}: {answer.estimate.reason}\n")
    else:
        sys.stdout.write(f"{answer.path.name}: {headline(answer.estimate)}{_extra(answer)}\n")
    sys.stdout.flush()


def _extra(answer: FileAnswer) -> str:
    estimate: Estimate = answer.estimate
    if estimate.verdict is not Verdict.SIZED or estimate.diameter_volume_nm is None:
        return ""
    return f", volume-weighted {estimate.diameter_volume_nm:.2f} nm"
