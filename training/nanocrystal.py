"""PbS clusters as published (Allara, Bertolotti, Guagliardi, npj Comput. Mater. 2024).

Primitive rock-salt cells, each with one Pb at its centre and S at its eight corners, fill a sphere:
a cell belongs to it when its Pb does. A corner is shared by eight cells, so S at the surface is
fractional. Coordinates are integers in units of a/2: Pb where their sum is even, S where it is odd.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qd_agent.scattering.ensemble import DIAMETER_STEP_NM, LATTICE_PARAMETER

Int = npt.NDArray[np.int64]

CORNERS: tuple[tuple[int, int, int], ...] = (
    (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1),
    (-1, 0, 0), (0, -1, 0), (0, 0, -1), (-1, -1, -1),
)  # fmt: skip
"""Corners (±a1 ±a2 ±a3)/2 of the primitive cell around its centre, in units of a/2."""


def occupancies(shell: int) -> tuple[Int, Int]:
    """Occupancies of cluster number `shell` (diameter shell × 0.4638 nm) on a cubic grid.

    Returns:
        (lead, eighths of sulfur), each of shape (s, s, s), with 0/1 and 0…8; the centre of the
        grid is the Pb at the centre of the sphere. A margin of one keeps the corners inside.
    """
    radius = 5.0 * DIAMETER_STEP_NM * shell / (0.5 * LATTICE_PARAMETER)  # in units of a/2
    reach = int(np.floor(radius)) + 1
    axis = np.arange(-reach, reach + 1)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    inside = x**2 + y**2 + z**2 <= radius**2 + 1e-9
    lead = (inside & ((x + y + z) % 2 == 0)).astype(np.int64)
    sulfur = np.zeros_like(lead)
    for corner in CORNERS:  # nothing wraps around: the outermost layer of `lead` is empty
        sulfur += np.roll(lead, corner, axis=(0, 1, 2))
    return lead, sulfur


def atoms(shell: int) -> tuple[npt.NDArray[np.float64], Int, Int]:
    """Sites of a cluster: positions (n, 3) in units of a/2, lead (n,) 0/1, eighths of S (n,)."""
    lead, sulfur = occupancies(shell)
    sites = np.argwhere((lead > 0) | (sulfur > 0))
    index = tuple(sites.T)
    return sites.astype(np.float64) - lead.shape[0] // 2, lead[index], sulfur[index]
