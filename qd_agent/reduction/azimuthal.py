"""Azimuthal integration: pyFAI's geometry and sparse matrix, applied in milliseconds.

pyFAI computes the Q of every pixel, its solid angle and polarization, and the sparse matrix that
shares pixels over bins, once. Everything after that is linear: a frame costs one product with that
matrix, the sums of its dark are kept, and the few pixels that one frame leaves out are taken off
the sums, so nothing is ever built again. pyFAI's own engine gives the same numbers (tested) in
several times the time: it corrects pixel by pixel, and walks the matrix by bin through scattered
pixels; stored by pixel, the image is read straight through.

Every bin is kept in four sectors, whose opposite ones tell whether the beam centre is right. A
pixel lies in one of them, so that they cost nothing while the image is read.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qd_agent.core.errors import Fatal
from qd_agent.core.pattern import PUBLISHED_GRID, RawPattern
from qd_agent.reduction.centring import SECTORS, CentreShift, Centring
from qd_agent.reduction.corrections import Dark
from qd_agent.reduction.geometry import Geometry, Shape, orient
from qd_agent.reduction.masking import Bool
from qd_agent.reduction.opposite import RANGE
from qd_agent.reduction.settings import ReductionSettings

Float = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over the pixels of each sector and bin, shape (4, bins) each.

    Attributes:
        signal: counts, dark subtracted.
        variance: of `signal`.
        norm: solid angle × polarization, of the pixels that counted.
    """

    signal: Float
    variance: Float
    norm: Float


@dataclass(frozen=True, slots=True)
class _DarkSums:
    dark: Dark
    mean: Float
    variance: Float


class Integrator:
    """The sparse matrix for images of one shape, as stored."""

    def __init__(self, geometry: Geometry, masked: Bool, settings: ReductionSettings) -> None:
        """Build it (0.3 s for a megapixel).

        Args:
            geometry: the loaded PONI.
            masked: shape (height, width), True = masked, in the PONI's orientation.
            settings: bins, splitting, corrections and orientation.

        Raises:
            Fatal: no unmasked pixel lies on the grid.
        """
        shape: Shape = (masked.shape[0], masked.shape[1])
        low = PUBLISHED_GRID.q_min - PUBLISHED_GRID.step / 2
        self.shape = shape
        self.q = (
            low + PUBLISHED_GRID.span * (np.arange(settings.q_points) + 0.5) / settings.q_points
        )
        # A copy: pyFAI keeps the arrays of the first shape that it meets, and much memory.
        pixels = copy.deepcopy(geometry.integrator)
        table = pixels.setup_sparse_integrator(
            shape,
            settings.q_points,
            mask=masked.astype(np.int8),
            pos0_range=(low, low + PUBLISHED_GRID.span),
            unit="q_A^-1",
            split=settings.pixel_splitting,
            algo="CSR",
        )
        stored = orient(np.arange(masked.size).reshape(shape), settings.orientation).ravel()
        azimuth: Float = np.asarray(pixels.center_array(shape, unit="chi_rad"), np.float64).ravel()
        self._matrix = _by_pixel(table.lut, stored, _sectors(azimuth), settings.q_points)
        self._whole_pixels = settings.pixel_splitting == "no"
        self._squared = self._matrix if self._whole_pixels else self._matrix.power(2)
        self.used: Bool = (np.diff(self._matrix.indptr) > 0).reshape(shape)
        if not self.used.any():
            raise Fatal(
                f"reduction: no unmasked pixel of {geometry.path} lies between Q = "
                f"{PUBLISHED_GRID.q_min} and {PUBLISHED_GRID.values()[-1]:.2f} 1/Å; check the "
                "PONI's distance and wavelength, and the mask"
            )
        self._norm = _normalization(pixels, shape, settings)
        self._full_norm: Float = self._matrix @ self._norm
        self._centring = Centring(self.q, self._directions(azimuth, stored))
        self._dark: _DarkSums | None = None

    def sums(self, counts: Float, invalid: Bool, dark: Dark | None = None) -> Sums:
        """Sum an image of the stored shape over the bins, dark subtracted.

        Args:
            counts: raw counts; set to zero here where a used pixel is left out.
            invalid: True where this frame has no count.
            dark: of the same shape; pixels that it leaves out are left out too.
        """
        left_out = invalid & self.used if dark is None else (invalid | dark.left_out) & self.used
        gone = np.flatnonzero(left_out)
        flat = counts.reshape(-1)
        flat[gone] = 0.0
        signal: Float = self._matrix @ flat
        variance = self._variance(flat, signal)
        norm = self._full_norm.copy()
        if gone.size:
            norm -= _part(self._matrix, self._norm, gone)
        if dark is not None:
            sums = self._dark_sums(dark)
            signal, variance = signal - sums.mean, variance + sums.variance
            if gone.size:
                signal += _part(self._matrix, dark.mean.reshape(-1), gone)
                variance -= _part(self._squared, dark.variance.reshape(-1), gone)
        shape = (SECTORS, self.q.size)
        return Sums(signal.reshape(shape), variance.reshape(shape), norm.reshape(shape))

    def _directions(self, azimuth: Float, stored: npt.NDArray[np.intp]) -> Float:
        """Give the mean unit vector of each sector where they are compared, shape (4, 2).

        Zero where a sector has no pixel there.
        """
        inside = np.tile((self.q > RANGE[0]) & (self.q < RANGE[1]), SECTORS)
        weight = np.where(inside, self._full_norm, 0.0).reshape(SECTORS, -1).sum(axis=1)
        found = np.zeros((SECTORS, 2))
        for axis, part in enumerate((np.cos(azimuth), np.sin(azimuth))):
            along = np.empty_like(part)
            along[stored] = part
            sums = np.where(inside, self._matrix @ (self._norm * along), 0.0)
            total = sums.reshape(SECTORS, -1).sum(axis=1)
            np.divide(total, weight, out=found[:, axis], where=weight > 0.0)
        return found

    def centre_shift(self, sums: Sums) -> CentreShift | None:
        """Say by how much the beam centre is off; None where opposite sectors cannot tell."""
        few = sums.norm <= _NEGLIGIBLE * float(self._full_norm.max())  # rounding errors
        return self._centring.shift(sums.signal, sums.variance, np.where(few, 0.0, sums.norm))

    def _variance(self, counts: Float, total: Float) -> Float:
        """Poisson variance of the bins' totals; negative values (floats only) count as none."""
        if (counts < 0.0).any():  # NaN, in pixels that are not used, compares as False
            return self._squared @ np.maximum(counts, 0.0)
        return total if self._whole_pixels else self._squared @ counts

    def _dark_sums(self, dark: Dark) -> _DarkSums:
        """Give the sums of this dark over all used pixels, computed once per dark."""
        if self._dark is None or self._dark.dark is not dark:
            mean = self._matrix @ dark.mean.reshape(-1)
            self._dark = _DarkSums(dark, mean, self._squared @ dark.variance.reshape(-1))
        return self._dark

    def pattern(self, sums: Sums, monitor: float = 1.0) -> RawPattern:
        """Divide counts by normalization, in the bins where a pixel counted.

        The intensity is Σ counts / (Σ solid angle × polarization × monitor), which weighs pixels
        as counting statistics wants it; sigma is the square root of the summed variance over the
        same. A bin that counted nothing is not known perfectly: it gets the smallest variance
        that any bin has (that of one count, when counts are few).
        """
        whole = sums.norm.sum(axis=0)
        seen = whole > _NEGLIGIBLE * float(self._full_norm.max())
        norm = whole[seen] * monitor
        variance = np.maximum(sums.variance.sum(axis=0)[seen], 0.0)  # rounding may leave -1e-12
        positive = variance[variance > 0]
        floor = float(positive.min()) if positive.size else 0.0
        sigma = np.sqrt(np.maximum(variance, floor)) / norm
        return RawPattern(self.q[seen], sums.signal.sum(axis=0)[seen] / norm, sigma)


_NEGLIGIBLE = 1e-9
"""Share of the best bin's normalization below which a bin saw rounding errors, not pixels."""


def _part(matrix: Any, values: Float, gone: npt.NDArray[np.intp]) -> Float:
    """Sum `values`, shape (pixels,), over the bins for the pixels `gone` alone."""
    if gone.size < values.size // 20:
        return matrix[:, gone] @ values[gone]
    alone = np.zeros_like(values)
    alone[gone] = values[gone]
    return matrix @ alone


def _sectors(azimuth: Float) -> npt.NDArray[np.intp]:
    """Give the sector of every pixel from its azimuth in rad, same shape."""
    turned = np.floor((azimuth + np.pi / SECTORS) / (2.0 * np.pi / SECTORS)).astype(np.intp)
    return turned % SECTORS


def _by_pixel(
    table: tuple[npt.NDArray[Any], ...],
    stored: npt.NDArray[np.intp],
    sectors: npt.NDArray[np.intp],
    bins: int,
) -> Any:
    """Turn pyFAI's table (by bin, pixels as in the PONI) into a matrix by stored pixel.

    Its rows are the bins of the first sector, then those of the second, and so on.
    """
    from scipy import sparse  # noqa: PLC0415 - heavy: loaded when a reducer is opened

    weights, pixels, starts = table
    rows = np.repeat(np.arange(bins), np.diff(starts)) + bins * sectors[pixels]
    matrix = sparse.coo_matrix(
        (weights.astype(np.float64), (rows, stored[pixels])), shape=(SECTORS * bins, stored.size)
    )
    return matrix.tocsc()


def _normalization(pixels: Any, shape: Shape, settings: ReductionSettings) -> Float:
    """Solid angle × polarization of every stored pixel, flat; 1 where not corrected."""
    norm = np.ones(shape)
    if settings.solid_angle:
        norm *= pixels.solidAngleArray(shape)
    if settings.polarization_factor is not None:
        norm *= pixels.polarization(shape, factor=settings.polarization_factor)
    return np.ascontiguousarray(orient(norm, settings.orientation), dtype=np.float64).ravel()
