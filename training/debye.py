"""Atoms to pair multiplicities, exactly: the autocorrelation of occupancies on the lattice grid."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qd_agent.scattering.ensemble import cluster_diameters
from qd_agent.scattering.forward import ClusterLibrary
from training.nanocrystal import occupancies

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]


def pair_counts(shell: int) -> tuple[Int, Int, Int]:
    """Multiplicities of cluster `shell` by squared distance m (units of (a/2)²).

    Returns:
        (Pb-Pb, eighths of Pb-S, sixty-fourths of S-S), each indexed by m; entry 0 holds Σ o².
        Occupancies are small integers, so rounding the transform gives exact integers.
    """
    lead, sulfur = occupancies(shell)
    size = 2 * lead.shape[0]
    shape, axes = (size, size, size), (0, 1, 2)
    lead_ft = np.fft.rfftn(lead, s=shape, axes=axes)
    sulfur_ft = np.fft.rfftn(sulfur, s=shape, axes=axes)
    shift = np.minimum(np.arange(size), size - np.arange(size)) ** 2
    squared = (shift[:, None, None] + shift[None, :, None] + shift[None, None, :]).ravel()

    def by_distance(product: npt.NDArray[np.complex128]) -> Int:
        counts = np.rint(np.fft.irfftn(product, s=shape, axes=axes)).ravel()
        return np.bincount(squared, weights=counts).astype(np.int64)

    return (
        by_distance(np.abs(lead_ft) ** 2 + 0j),
        by_distance(lead_ft * np.conj(sulfur_ft)),
        by_distance(np.abs(sulfur_ft) ** 2 + 0j),
    )


def build_library(max_diameter_nm: float) -> ClusterLibrary:
    """Library of every cluster up to a diameter; 12 nm take about a second."""
    diameters = cluster_diameters(max_diameter_nm)
    counts = [pair_counts(shell) for shell in range(1, diameters.size + 1)]
    length = max(column.size for row in counts for column in row)

    def stack(which: int, unit: float) -> Float:
        rows = [np.pad(row[which], (0, length - row[which].size)) for row in counts]
        return np.array(rows, dtype=np.float64) / unit

    lead_lead, lead_sulfur, sulfur_sulfur = stack(0, 1.0), stack(1, 8.0), stack(2, 64.0)
    squared = np.arange(length)
    occurs = (lead_lead + lead_sulfur + sulfur_sulfur).any(axis=0) & (squared > 0)
    even, odd = squared[occurs & (squared % 2 == 0)], squared[occurs & (squared % 2 == 1)]
    atoms = [occupancies(shell) for shell in range(1, diameters.size + 1)]
    return ClusterLibrary(
        diameters=diameters,
        lead=np.array([lead.sum() for lead, _ in atoms], dtype=np.float64),
        sulfur=np.array([sulfur.sum() / 8.0 for _, sulfur in atoms], dtype=np.float64),
        even=even.astype(np.float64),
        odd=odd.astype(np.float64),
        lead_lead=lead_lead[:, even],
        sulfur_sulfur=sulfur_sulfur[:, even],
        lead_sulfur=lead_sulfur[:, odd],
    )
