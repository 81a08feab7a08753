"""One-dimensional patterns on the one Q grid that training and serving share.

The grid is the published one (Allara, Bertolotti, Guagliardi, npj Comput. Mater. 2024,
10.1038/s41524-024-01241-6): Q = 0.99 to 15.00 1/Å, step 0.0028, 5004 points, area 1000.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from qd_agent.core.errors import BadFrame
from qd_agent.core.steps import EVEN, coarsest, local_steps, read_between

Float = npt.NDArray[np.float64]

AREA = 1000.0
"""Area under a normalized pattern over the whole grid (intensity × 1/Å), as published."""

_LARGEST = 1e100
"""Numbers beyond it are no measurement, and their squares would overflow."""


@dataclass(frozen=True, slots=True)
class QGrid:
    """Equidistant grid of the scattering vector Q = 4π sin(θ)/λ.

    Attributes:
        q_min: first point, 1/Å.
        step: spacing, 1/Å.
        size: number of points.
    """

    q_min: float = 0.99
    step: float = 0.0028
    size: int = 5004

    def values(self) -> Float:
        """Q of every point, shape (size,), 1/Å."""
        return self.q_min + self.step * np.arange(self.size, dtype=np.float64)

    @property
    def span(self) -> float:
        """Length of the grid, 1/Å: `size` cells of `step`."""
        return self.step * self.size


PUBLISHED_GRID = QGrid()


@dataclass(frozen=True, slots=True)
class RawPattern:
    """A pattern on its own, increasing, Q points, before resampling.

    Attributes:
        q: shape (n,), 1/Å, strictly increasing.
        intensity: shape (n,), any linear scale.
        sigma: shape (n,), standard uncertainty of the intensity, same scale; None when unknown.
    """

    q: Float
    intensity: Float
    sigma: Float | None = None


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern on `grid`.

    Attributes:
        intensity: shape (size,), zero where not covered.
        sigma: shape (size,), standard uncertainty in the same unit; zero where not covered,
            and all zero when the source did not state one.
        coverage: shape (size,), 1 where the detector measured, else 0.
        grid: the Q grid.
        resolution: standard deviation of the instrument's Gaussian, 1/Å; 0 where it is sharp or
            not known.
        flags: short words for things a user should know ('monitor_missing', 'dark_missing', ...).
        quality: what a user may judge it by, by the names that `Estimate.quality` explains.
        step: the widest usual spacing of the source's points between 1.6 and 6.0 1/Å, where the
            decisive reflections are, 1/Å; 0 where none there is coarser than the grid's.
    """

    intensity: Float
    sigma: Float
    coverage: Float
    grid: QGrid = PUBLISHED_GRID
    flags: tuple[str, ...] = ()
    resolution: float = 0.0
    quality: Mapping[str, float] = field(default_factory=dict[str, float])
    step: float = 0.0

    @property
    def q(self) -> Float:
        """Q of every point, shape (size,), 1/Å."""
        return self.grid.values()

    @property
    def broadening(self) -> float:
        """Standard deviation of what widens a peak, 1/Å: the instrument, at least the step.

        A point of a coarse source is the mean over its step, which widens by step/√12. A resolution
        that a calibrant told contains that already.
        """
        return max(self.resolution, self.step / math.sqrt(12.0))


def measured_range(pattern: Pattern) -> dict[str, float]:
    """Give `q_min` and `q_max` (1/Å) of what was measured, and `q_coverage`, the share of it.

    Empty where nothing was.
    """
    covered = np.flatnonzero(pattern.coverage > 0)
    if not covered.size:
        return {}
    first, last = int(covered[0]), int(covered[-1])
    low, step = pattern.grid.q_min, pattern.grid.step
    return {
        "q_min": round(low + step * first, 6),
        "q_max": round(low + step * last, 6),
        "q_coverage": covered.size / (last - first + 1),
    }


def q_from_two_theta(two_theta_deg: Float, wavelength: float) -> Float:
    """Q = 4π sin(θ)/λ, 1/Å, from 2θ in degrees and the wavelength in Å."""
    return 4.0 * np.pi * np.sin(np.radians(two_theta_deg) / 2.0) / wavelength


def resample(raw: RawPattern, grid: QGrid = PUBLISHED_GRID) -> Pattern:
    """Bring a raw pattern onto `grid` without inventing data.

    Where the source is finer than the grid its points are averaged cell by cell (so noise
    shrinks as it should); elsewhere it is interpolated, linearly or, where its usual step is
    coarser than the grid's, by cubic splines. Grid points outside the source, or inside a hole of
    the source wider than two and a half of its usual steps and five of the grid's (0.014 1/Å, a
    quarter of the narrowest peak of a 10 nm crystal), are not covered. What step is usual is asked
    of the nearest ones. Points whose intensity or sigma is not finite are left out.

    The sigma of an average is propagated as for independent points; between points it is
    interpolated like the intensity, which is an upper bound (up to √2) and, unlike exact
    propagation, claims no extra precision for points that repeat the information of their
    neighbours.

    Raises:
        BadFrame: columns of different length, fewer than two points, Q not finite or not
            increasing, numbers too large to average, or nothing on the grid.
    """
    q, intensity, sigma = _usable_points(raw)
    target = grid.values()
    usual = local_steps(q, grid.step)
    right = np.clip(np.searchsorted(q, target), 1, q.size - 1)
    hole = np.diff(q)[right - 1] > np.maximum(EVEN[1] * usual[right - 1], 5.0 * grid.step)
    inside = (target >= q[0] - grid.step / 2) & (target <= q[-1] + grid.step / 2)
    cell = _cell_of(q, grid)
    on_grid = cell[(cell >= 0) & (cell < grid.size)]
    counts = np.bincount(on_grid, minlength=grid.size)
    centres, means, errors_of_means = _cell_means(q, intensity, sigma, cell)
    values = read_between(target, centres, means, usual[np.diff(cell) > 0], grid.step)
    errors = np.interp(target, centres, errors_of_means)
    covered = (counts > 0) | (inside & ~hole)
    if not covered.any():
        raise BadFrame(
            f"the pattern covers Q = {q[0]:.3g} to {q[-1]:.3g} 1/Å, none of it on the grid "
            f"{target[0]:.3g} to {target[-1]:.3g}; check the unit and the wavelength"
        )
    return Pattern(
        intensity=np.where(covered, values, 0.0),
        sigma=np.where(covered, errors, 0.0),
        coverage=covered.astype(np.float64),
        grid=grid,
        step=coarsest(q, usual, grid.step),
    )


def normalize_area(pattern: Pattern) -> Pattern:
    """Scale so that the mean over the covered points is AREA / span (71.4 on the published grid).

    On a fully covered grid this is the published area of 1000.

    Raises:
        BadFrame: the covered area is not positive or not finite (dark frame, broken data).
    """
    covered = pattern.coverage > 0
    with np.errstate(over="ignore", invalid="ignore"):
        mean = float(pattern.intensity[covered].mean()) if covered.any() else 0.0
    scale = AREA / pattern.grid.span / mean if mean > 0.0 else math.inf
    if not math.isfinite(mean) or not math.isfinite(scale):
        raise BadFrame("the pattern has no positive area (empty, dark or over-subtracted frame)")
    return replace(pattern, intensity=pattern.intensity * scale, sigma=pattern.sigma * scale)


def _usable_points(raw: RawPattern) -> tuple[Float, Float, Float | None]:
    q = np.asarray(raw.q, dtype=np.float64)
    intensity = np.asarray(raw.intensity, dtype=np.float64)
    sigma = None if raw.sigma is None else np.asarray(raw.sigma, dtype=np.float64)
    shapes = {array.shape for array in (q, intensity, sigma) if array is not None}
    if len(shapes) > 1 or q.ndim != 1:
        raise BadFrame(f"the pattern's columns differ in shape: {sorted(map(str, shapes))}")
    good = np.isfinite(intensity)
    if sigma is not None:
        good &= np.isfinite(sigma)
        sigma = sigma[good]
    q, intensity = q[good], intensity[good]
    if q.size < 2:
        raise BadFrame("the pattern has fewer than two finite points")
    if not (np.abs(q) < _LARGEST).all() or not (np.diff(q) > 0).all():
        raise BadFrame("the pattern's Q (or 2θ) values are not strictly increasing numbers")
    if max(np.abs(intensity).max(), 0.0 if sigma is None else np.abs(sigma).max()) > _LARGEST:
        raise BadFrame(f"the pattern holds intensities above {_LARGEST:g}: no counts, broken data")
    return q, intensity, sigma


def _cell_of(q: Float, grid: QGrid) -> npt.NDArray[np.int64]:
    """Give the cell of every point; cells are centred on grid points and go on outside it."""
    cell = np.floor((q - grid.q_min) / grid.step + 0.5)
    return np.clip(cell, -(2.0**53), 2.0**53).astype(np.int64)


def _cell_means(
    q: Float, intensity: Float, sigma: Float | None, cell: npt.NDArray[np.int64]
) -> tuple[Float, Float, Float]:
    """Average Q and intensity of the points in each occupied cell, and the mean's uncertainty.

    Averaging Q as well keeps a lopsided cell from shifting the pattern; the caller interpolates
    back onto the centres.
    """
    _, index = np.unique(cell, return_inverse=True)
    counts = np.bincount(index).astype(np.float64)
    mean_q = np.bincount(index, weights=q) / counts
    mean = np.bincount(index, weights=intensity) / counts
    if sigma is None:
        return mean_q, mean, np.zeros_like(mean)
    return mean_q, mean, np.sqrt(np.bincount(index, weights=sigma**2)) / counts
