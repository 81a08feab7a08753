"""How often each distance occurs on a lattice, exactly: correlations of occupancies by FFT.

On a lattice Σ o_a(x) o_b(x + d) over all sites x is a correlation, which the FFT gives for every
difference vector d at once, and vectors of one length are added up. Occupancies are small
integers, so rounding the transform gives exact integers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PairCounts:
    """How often the difference vectors of each length occur, ordered pairs, self pairs included.

    Attributes:
        m: shape (k,), squared length in units of (a/2)², ascending with `t`.
        t: shape (k,), |x + y + z| of the vectors; all 0 where that was not told apart.
        count: shape (k,), exact Σ o_a o_b in the units of the occupancies.
    """

    m: Int
    t: Int
    count: Int


@dataclass(frozen=True, slots=True)
class _Vectors:
    """m, and |t| where asked for, of the difference vectors of a wrapped cubic grid.

    Half of them, z ≥ 0: the other half are their opposites, of the same m and |t|.
    """

    size: int
    stride: int
    keys: Int

    @staticmethod
    def between(*grids: Int, diagonal: bool) -> _Vectors:
        size = _room(2 * max(max(grid.shape) for grid in grids))
        steps = np.arange(size)
        steps = np.where(steps <= size // 2, steps, steps - size)
        x, y, z = np.meshgrid(steps, steps, steps[: size // 2 + 1], indexing="ij", sparse=True)
        m = x**2 + y**2 + z**2
        if not diagonal:
            return _Vectors(size, 1, m.ravel())
        stride = 3 * (size // 2) + 1
        m *= stride
        m += np.abs(x + y + z)
        return _Vectors(size, stride, m.ravel())

    def spectrum(self, grid: Int) -> npt.NDArray[np.complex128]:
        return np.fft.rfftn(grid, s=(self.size, self.size, self.size), axes=(0, 1, 2))

    def correlation(self, spectrum: Float) -> Float:
        """Mean count of each vector and its opposite, shape (size, size, size // 2 + 1).

        `spectrum` is Re(a* b), which belongs to that mean; the counts are integers.
        """
        grid = np.fft.irfftn(spectrum, s=(self.size, self.size, self.size), axes=(0, 1, 2))
        return 0.5 * np.rint(2.0 * grid[:, :, : self.size // 2 + 1])

    def collect(self, grid: Float) -> Int:
        """Sum over all vectors of one key; shape (largest key + 1,). Spoils `grid`."""
        grid[:, :, 0] *= 0.5  # vectors of z = 0 are all here, of the others one half
        return np.rint(2.0 * np.bincount(self.keys, weights=grid.ravel())).astype(np.int64)

    def pairs(self, counts: Int, parity: int | None = None) -> PairCounts:
        """What occurs at all, of even or of odd m where `parity` is 0 or 1."""
        (keys,) = np.nonzero(counts)
        if parity is not None:
            keys = keys[keys // self.stride % 2 == parity]
        return PairCounts(keys // self.stride, keys % self.stride, counts[keys])


def _room(size: int) -> int:
    """The next even number that only 2, 3 and 5 divide: a good length of an FFT."""

    def rest(number: int) -> int:
        for factor in (2, 3, 5):
            while number % factor == 0:
                number //= factor
        return number

    return size if rest(size) == 1 else _room(size + 2)


def pair_counts_between(a: Int, b: Int, diagonal: bool = False) -> PairCounts:
    """Count the difference vectors from the sites of `a` to those of `b`, exactly.

    Args:
        a: shape (s, s, s), integer occupancies on the grid of spacing a/2.
        b: the same for the other species, on the same grid; `a` itself for like pairs.
        diagonal: tell vectors of one length apart by |x + y + z|, as an elongation needs.

    Raises:
        ValueError: occupancies so many or so large that the transform could not be rounded.
    """
    _check_exact(
        float(np.sqrt((a.astype(np.float64) ** 2).sum() * (b.astype(np.float64) ** 2).sum()))
    )
    vectors = _Vectors.between(a, b, diagonal=diagonal)
    first = vectors.spectrum(a)
    second = first if b is a else vectors.spectrum(b)
    return vectors.pairs(vectors.collect(vectors.correlation((np.conj(first) * second).real)))


def _check_exact(largest: float) -> None:
    """The FFT errs by some 10⁻¹⁵ of the largest correlation; rounding needs less than one half."""
    if largest > 5e13:
        raise ValueError("too many atoms to count their pairs exactly: stay below 40 nm")


def rock_salt_counts(
    lead: Int, sulfur: Int, diagonal: bool
) -> tuple[PairCounts, PairCounts, PairCounts]:
    """Pb-Pb, Pb-S (eighths), S-S (sixty-fourths) from one autocorrelation.

    Like atoms of rock salt differ by vectors of even m, Pb and S by odd ones. So in the
    autocorrelation of lead + k·sulfur an odd vector tells k (Pb-S + S-Pb), and an even one
    Pb-Pb + k² S-S, two digits to the base k² once that is larger than the number of Pb.
    """
    base = math.isqrt(int(lead.sum())) + 1
    packed = lead + base * sulfur
    _check_exact(float((packed.astype(np.float64) ** 2).sum()))
    vectors = _Vectors.between(packed, diagonal=diagonal)
    spectrum = vectors.spectrum(packed)
    found = vectors.correlation(spectrum.real**2 + spectrum.imag**2)
    sulfur_sulfur = np.floor(found / base**2)
    lead_lead = found - base**2 * sulfur_sulfur
    return (
        vectors.pairs(vectors.collect(lead_lead), parity=0),
        vectors.pairs(vectors.collect(found) // (2 * base), parity=1),
        vectors.pairs(vectors.collect(sulfur_sulfur), parity=0),
    )
