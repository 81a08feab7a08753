"""Sizes of one-dimensional files: the same grid, normalization and network as for live frames."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from qd_agent.core.errors import BadFrame
from qd_agent.core.pattern import normalize_area, resample
from qd_agent.core.ports import Sizer
from qd_agent.core.prediction import Estimate, Sized, Verdict
from qd_agent.frames.pattern_file import read_pattern, wavelength_from_name

Unit = Literal["2th_deg", "q_A^-1", "q_nm^-1"]


@dataclass(frozen=True, slots=True)
class FileAnswer:
    """What was found in one file; `sized` is None when it could not be read as a pattern.

    `wavelength` is the one that is known of the file, Å, or None.
    """

    path: Path
    estimate: Estimate
    sized: Sized | None = None
    wavelength: float | None = None

    def record(self) -> dict[str, object]:
        """Give the flat record that `qd-agent size --json` prints."""
        return {"path": str(self.path), **self.estimate.model_dump(mode="json")}


def size_files(
    paths: Sequence[Path],
    sizer: Sizer,
    unit: Unit,
    wavelength: float | None,
    resolution: float = 0.0,
) -> Generator[FileAnswer]:
    """Size files one after the other.

    Args:
        paths: text files of x, intensity and (optional) sigma.
        sizer: the model.
        unit: what x is.
        wavelength: Å; None takes it from the name (`wl0p5655A`) where 2θ needs one.
        resolution: standard deviation of the instrument's Gaussian, 1/Å.

    Yields:
        One answer a file, in order; a file that is no pattern gets verdict `bad_frame`.
    """
    for path in paths:
        try:
            known = wavelength if wavelength is not None else wavelength_from_name(path)
            pattern = normalize_area(resample(read_pattern(path, unit, known)))
            pattern = replace(pattern, resolution=resolution)
        except BadFrame as error:
            yield FileAnswer(path, Estimate(verdict=Verdict.BAD_FRAME, reason=str(error)))
            continue
        (sized,) = sizer.size([pattern])
        yield FileAnswer(path, sized.estimate, sized, known)
