"""Clusters to libraries of pair multiplicities, and libraries to partial sums.

The Debye equation (Debye, Ann. Phys. 351 (1915) 809), I(Q) = Σ_ij f_i f_j* sin(Q r_ij)/(Q r_ij),
needs no atoms, only how often each distance occurs (`pairs`): distances r in Å, Q in 1/Å.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from qd_agent.scattering.ensemble import DIAMETER_STEP_NM, cluster_diameters
from qd_agent.scattering.forward import ClusterLibrary, PartialSums, distances, sinc_table
from training.nanocrystal import occupancies
from training.pairs import PairCounts, pair_counts_between, rock_salt_counts
from training.rhombohedral import check_elongation, squared_distance
from training.shapes import Shape

__all__ = [
    "build_library",
    "cell_widths",
    "cluster_library",
    "pair_counts",
    "pair_counts_between",
    "partial_sums",
    "sinc_sum",
]

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]


def pair_counts(shell: int, shape: Shape = Shape.SPHERE) -> tuple[Int, Int, Int]:
    """Multiplicities of cluster `shell` by squared distance m (units of (a/2)²).

    Returns:
        (Pb-Pb, eighths of Pb-S, sixty-fourths of S-S), each indexed by m; entry 0 holds Σ o².
    """
    found = rock_salt_counts(*occupancies(shell, shape), diagonal=False)
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
            counts.append(rock_salt_counts(*cluster, diagonal=elongation != 0.0))
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
