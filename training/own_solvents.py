"""A user's own measured liquids, made into backgrounds that training draws from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from qd_agent.core.errors import BadFrame, Mistake
from qd_agent.inference.network import POINTS, bin_patterns
from training.pattern_files import read_pattern, truth_of

LEAST_COVERED = 0.25
"""Of the published grid; a laboratory range to 5 1/Å is 0.27 of it."""

SMOOTH = 9
"""Bins (0.1 1/Å) that a liquid is averaged over, so that its counting noise is not learned."""


def read_solvents(
    files: Sequence[Path], wavelength: float | None = None
) -> list[npt.NDArray[np.float32]]:
    """Backgrounds of shape (1251,), mean 1; beyond what was measured the last value goes on.

    Raises:
        Mistake: a file is missing, unreadable, covers too little, or is no positive pattern.
    """
    return [_read(path, wavelength) for path in files]


def _read(path: Path, wavelength: float | None) -> npt.NDArray[np.float32]:
    try:
        pattern = read_pattern(path, truth_of(path).wavelength or wavelength)
    except (BadFrame, OSError) as error:
        raise Mistake(f"solvent {path}: {error}") from error
    intensity, coverage = bin_patterns(pattern.intensity[None], pattern.coverage[None])
    covered = np.flatnonzero(coverage[0] > 0)
    if covered.size < LEAST_COVERED * POINTS:
        share = covered.size / POINTS
        raise Mistake(
            f"solvent {path}: it covers {share:.0%} of 0.99 to 15 1/Å and at least "
            f"{LEAST_COVERED:.0%} is needed; check unit and wavelength"
        )
    kernel = np.ones(SMOOTH) / SMOOTH
    whole = np.interp(np.arange(POINTS), covered, intensity[0][covered])
    padded = np.pad(whole, SMOOTH // 2, mode="edge")
    smooth = np.convolve(padded, kernel, mode="valid")
    if not (smooth > 0).all():
        raise Mistake(f"solvent {path}: its intensities are not all positive, subtract less")
    return (smooth / smooth.mean()).astype(np.float32)
