"""Atoms to pair multiplicities, exactly: correlations of occupancies on the lattice grid.

The Debye equation (Debye, Ann. Phys. 351 (1915) 809) needs no atoms, only how often each distance
occurs. On a lattice Σ o_a(x) o_b(x + d) over all sites x is a correlation, which the FFT gives for
every difference vector d at once, and vectors of one length are added up. Occupancies are small
integers, so rounding the transform gives exact integers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qd_agent.scattering.ensemble import DIAMETER_STEP_NM, cluster_diameters
from qd_agent.scattering.forward import ClusterLibrary, PartialSums, distances, sinc_table
from training.nanocrystal import occupancies
from training.rhombohedral import check_elongation, squared_distance
from training.shapes import Shape

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


def _rock_salt_counts(
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


def pair_counts(shell: int, shape: Shape = Shape.SPHERE) -> tuple[Int, Int, Int]:
    """Multiplicities of cluster `shell` by squared distance m (units of (a/2)²).

    Returns:
        (Pb-Pb, eighths of Pb-S, sixty-fourths of S-S), each indexed by m; entry 0 holds Σ o².
    """
    found = _rock_salt_counts(*occupancies(shell, shape), diagonal=False)
    length = 1 + max(int(pairs.m[-1]) for pairs in found)
    lead_lead, lead_sulfur, sulfur_sulfur = (
        np.bincount(pairs.m, weights=pairs.count, minlength=length).astype(np.int64)
        for pairs in found
    )
    return lead_lead, lead_sulfur, sulfur_sulfur


def build_library(
    max_diameter_nm: float, shape: Shape = Shape.SPHERE, elongation: float = 0.0
) -> ClusterLibrary:
    """Library of every cluster of one shape up to a diameter.

    Args:
        max_diameter_nm: of the largest cluster; for other shapes, of the sphere with its volume.
        shape: outer shape; spheres are the published clusters.
        elongation: relative lengthening of a body diagonal, volume kept (`rhombohedral`).

    `diameters` of spheres are the multiples of 0.4638 nm; of other shapes those of the sphere of
    the volume that the cells fill, n_Pb·a³/4, increasing but unevenly spaced: weight a density by
    `cell_widths`. With an elongation, `even` and `odd` (pairs of like and of unlike atoms) are not
    integers. Spheres up to 12 nm take a second; with an elongation, distances are many: use
    `partial_sums` of this module, which works in chunks.

    Raises:
        ValueError: an elongation beyond ±0.1, or no cluster is that small.
    """
    shells = cluster_diameters(max_diameter_nm).size
    if shells == 0:
        raise ValueError(f"the smallest cluster has 0.46 nm, more than {max_diameter_nm:g} nm")
    return _library(range(1, shells + 1), shape, elongation)


def cluster_library(
    shell: int, shape: Shape = Shape.SPHERE, elongation: float = 0.0
) -> ClusterLibrary:
    """Library of cluster number `shell` alone, one row; see `build_library`."""
    return _library((shell,), shape, elongation)


def _library(shells: Iterable[int], shape: Shape, elongation: float) -> ClusterLibrary:
    check_elongation(elongation)
    kept: list[int] = []
    atoms: list[tuple[int, int]] = []
    counts: list[tuple[PairCounts, PairCounts, PairCounts]] = []
    for shell in shells:
        cluster = occupancies(shell, shape)
        numbers = int(cluster[0].sum()), int(cluster[1].sum())
        if not atoms or numbers[0] > atoms[-1][0]:
            kept.append(shell)
            atoms.append(numbers)
            counts.append(_rock_salt_counts(*cluster, diagonal=elongation != 0.0))
    lead, eighths = np.array(atoms, dtype=np.float64).T
    even, (lead_lead, sulfur_sulfur) = _align([[c[0] for c in counts], [c[2] for c in counts]])
    odd, (lead_sulfur,) = _align([[c[1] for c in counts]])
    cells = np.array(kept, dtype=np.float64) if shape is Shape.SPHERE else np.cbrt(lead)
    return ClusterLibrary(
        diameters=DIAMETER_STEP_NM * cells,
        lead=lead,
        sulfur=eighths / 8.0,
        even=squared_distance(even[0], even[1], elongation),
        odd=squared_distance(odd[0], odd[1], elongation),
        lead_lead=lead_lead,
        sulfur_sulfur=sulfur_sulfur / 64.0,
        lead_sulfur=lead_sulfur / 8.0,
    )


def _align(kinds: list[list[PairCounts]]) -> tuple[tuple[Int, Int], list[Float]]:
    """Counts of all clusters over one common list of (m, t), self pairs left out."""
    stride = 1 + max(int(c.t.max()) for kind in kinds for c in kind)
    keys = [[c.m * stride + c.t for c in kind] for kind in kinds]
    union = np.unique(np.concatenate([k for kind in keys for k in kind]))
    union = union[union > 0]
    tables: list[Float] = []
    for kind, kind_keys in zip(kinds, keys, strict=True):
        table = np.zeros((len(kind), union.size))
        for row, (pairs, found) in enumerate(zip(kind, kind_keys, strict=True)):
            different = found > 0
            table[row, np.searchsorted(union, found[different])] = pairs.count[different]
        tables.append(table)
    return (union // stride, union % stride), tables


def cell_widths(diameters: Float) -> Float:
    """Spacing of unevenly spaced diameters, shape (n,), mean 1: factors for sampled densities."""
    if diameters.size < 2:
        return np.ones_like(diameters)
    widths = np.gradient(diameters)
    return widths / widths.mean()


def sinc_sum(counts: Float, r: Float, q: Float, chunk: int = 2048) -> Float:
    """counts @ sin(Qr)/(Qr) in bounded memory; shape (n, nq).

    Args:
        counts: shape (n, k).
        r: shape (k,), Å, positive.
        q: shape (nq,), 1/Å, positive. Equidistant points are an order of magnitude faster.
        chunk: distances at a time; 2048 of them on 5004 points are 80 MB.
    """
    total = np.zeros((counts.shape[0], q.size))
    step = _equidistant_step(q)
    for start in range(0, r.size, chunk):
        part = slice(start, start + chunk)
        if step is None:
            total += counts[:, part] @ sinc_table(q, r[part])
        else:
            total += _sine_sum(counts[:, part] / r[part], r[part], q, step)
    return total if step is None else total / q


def _equidistant_step(q: Float) -> float | None:
    """Step of `q`, or None when rounding alone does not explain how it differs from a grid."""
    if q.size < 256:
        return None
    step = float(q[-1] - q[0]) / (q.size - 1)
    off = np.abs(q[0] + step * np.arange(q.size) - q).max()
    return step if off <= 8.0 * np.finfo(np.float64).eps * abs(q).max() else None


def _sine_sum(weights: Float, r: Float, q: Float, step: float) -> Float:
    """weights @ sin(Qr) on equidistant Q, shape (n, nq).

    With Q = A + B, A every 64th point and B the 64 offsets, sin(Qr) = sin(Ar) cos(Br) +
    cos(Ar) sin(Br): two matrix products of a few sines instead of one sine for every point.
    """
    block = 64
    blocks = -(-q.size // block)
    coarse = np.multiply.outer(q[0] + step * block * np.arange(blocks), r)
    fine = np.multiply.outer(step * np.arange(block), r)
    left = np.concatenate([np.sin(coarse), np.cos(coarse)], axis=1)
    right = np.concatenate([np.cos(fine), np.sin(fine)], axis=1).T
    doubled = np.concatenate([weights, weights], axis=1)
    rows = [((left * row) @ right).ravel()[: q.size] for row in doubled]
    return np.array(rows)


def partial_sums(library: ClusterLibrary, q: Float, lattice_scale: float = 1.0) -> PartialSums:
    """Partial sums of every cluster on `q` (1/Å), shape (n, nq), in bounded memory.

    The same numbers as `qd_agent.scattering.forward.partial_sums`, for libraries with very many
    distances (elongated ones have a hundred thousand).
    """
    even = distances(library.even, lattice_scale)
    clusters = library.lead.size
    like = sinc_sum(np.concatenate([library.lead_lead, library.sulfur_sulfur]), even, q)
    return PartialSums(
        like[:clusters],
        sinc_sum(library.lead_sulfur, distances(library.odd, lattice_scale), q),
        like[clusters:],
        library.lead[:, None],
        library.sulfur[:, None],
    )
