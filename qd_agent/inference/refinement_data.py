"""The points of a pattern that a refinement uses, and how uncertain each is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter1d

from qd_agent.core.errors import BadFrame
from qd_agent.core.pattern import Pattern
from qd_agent.inference.least_squares import alike_points, second_differences

Float = npt.NDArray[np.float64]

LEAST_POINTS = 300
"""Of the published grid: 0.84 1/Å. The model has about forty parameters."""

TOGETHER = 36
"""Points (0.1 1/Å) over which residuals that agree count as one; about the width of a peak."""

ROUNDING = 1e-4
"""No uncertainty is below this part of the intensity: a simulation without noise has none."""


@dataclass(frozen=True, slots=True)
class Data:
    """What is fitted.

    Attributes:
        q, intensity, sigma: shape (points,); 1/Å, the pattern's unit. Sigma is what each point
            adds: √k times its own where k points repeat one of a coarse source.
        used: shape (size of the grid,), which points of the pattern these are.
        measured: the uncertainties came with the pattern; else they are counting noise, estimated.
        solvent: a measured solvent on the same points, mean 1, or None.
    """

    q: Float
    intensity: Float
    sigma: Float
    used: npt.NDArray[np.bool_]
    measured: bool
    solvent: Float | None = None


def select(pattern: Pattern, solvent: Pattern | None = None) -> Data:
    """Take the covered, finite points.

    Raises:
        BadFrame: too few points, or nothing positive on them.
    """
    used = (pattern.coverage > 0) & np.isfinite(pattern.intensity)
    if solvent is not None:
        used &= (solvent.coverage > 0) & np.isfinite(solvent.intensity)
    if used.sum() < LEAST_POINTS:
        where = "" if solvent is None else " that the solvent covers too"
        raise BadFrame(
            f"a refinement needs {LEAST_POINTS} points of the Q grid, here are {used.sum()}{where}"
        )
    y = np.asarray(pattern.intensity[used], dtype=np.float64)
    if not y.mean() > 0 or np.ptp(y) <= 1e-9 * np.abs(y).max():
        raise BadFrame("the pattern is flat or has no positive area: there is nothing to refine")
    given = np.asarray(pattern.sigma[used], dtype=np.float64)
    measured = bool((np.isfinite(given) & (given > 0)).mean() > 0.95)
    level = _level(y)
    alike = alike_points(pattern.step, pattern.grid.step)
    sigma = counting_noise(y, level, alike)
    if measured:
        known = np.where(np.isfinite(given) & (given > 0), given, np.median(given))
        sigma = known * np.sqrt(alike)
    return Data(
        q=pattern.q[used],
        intensity=y,
        sigma=np.maximum(sigma, ROUNDING * level),
        used=used,
        measured=measured,
        solvent=None if solvent is None else _mean_one(solvent.intensity[used]),
    )


def counting_noise(y: Float, level: Float, alike: int = 1) -> Float:
    """Uncertainty of each point, shape of y, if it is counting noise: k √level.

    k is read off second differences (variance 6 σ² for white noise), robustly, of points that do
    not repeat each other; of `alike` ones it is √alike times as large, as in the live fit.
    """
    second = second_differences(y, alike) / np.sqrt(6.0 * level[alike:-alike])
    return float(np.median(np.abs(second)) / 0.6745 * np.sqrt(alike)) * np.sqrt(level)


def inflation(residual: Float, free: int) -> float:
    """By how much all uncertainties are too small, squared; 1 or more.

    The larger of the reduced χ² and the χ² of running means over `TOGETHER` points: where
    neighbouring residuals agree, a misfit of the model and no noise is at work, and that many
    points say no more than one (after Bérar and Lelann, J. Appl. Cryst. 24 (1991) 1).
    """
    points = max(residual.size - free, 1)
    reduced = float(residual @ residual) / points
    blocks = residual.size // TOGETHER
    sums = residual[: blocks * TOGETHER].reshape(blocks, TOGETHER).sum(axis=1)
    # Forty parameters follow part of the slow noise, hence the blocks that are left.
    together = float(sums @ sums) / TOGETHER / max(blocks - free / 2.0, blocks / 2.0, 1.0)
    return max(1.0, reduced, together)


def _level(y: Float) -> Float:
    smooth = uniform_filter1d(y, 9, mode="nearest")
    return np.maximum(smooth, 0.02 * float(y.mean()))


def _mean_one(y: Float) -> Float:
    mean = float(y.mean())
    if not mean > 0:
        raise BadFrame("the solvent pattern has no positive area where the pattern is covered")
    return np.asarray(y, dtype=np.float64) / mean
