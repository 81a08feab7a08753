"""PbS clusters as published (Allara, Bertolotti, Guagliardi, npj Comput. Mater. 2024).

Primitive rock-salt cells, each with one Pb at its centre and S at its eight corners, fill a body:
a cell belongs to it when its Pb does. A corner is shared by eight cells, so S at the surface is
fractional. Coordinates are integers in units of a/2: Pb where their sum is even, S where it is odd.
Published are spheres; the other shapes are made the same way.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qd_agent.scattering.ensemble import DIAMETER_STEP_NM, LATTICE_PARAMETER
from training.shapes import Point, Shape, centres, inside, reach

Int = npt.NDArray[np.int64]

CORNERS: tuple[tuple[int, int, int], ...] = (
    (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1),
    (-1, 0, 0), (0, -1, 0), (0, 0, -1), (-1, -1, -1),
)  # fmt: skip
"""Corners (±a1 ±a2 ±a3)/2 of the primitive cell around its centre, in units of a/2."""


def occupancies(shell: int, shape: Shape = Shape.SPHERE) -> tuple[Int, Int]:
    """Occupancies of cluster number `shell` (diameter shell × 0.4638 nm) on a cubic grid.

    The body has the volume of that sphere, shell³ primitive cells. A sphere is centred on Pb;
    of the `centres` of another shape the one that brings the number of Pb closest to shell³.

    Returns:
        (lead, eighths of sulfur), each of shape (s, s, s), with 0/1 and 0…8; the middle of the
        grid is a Pb. A margin of one keeps the corners inside.

    Raises:
        ValueError: `shell` is not positive.
    """
    if shell < 1:
        raise ValueError(f"clusters are numbered from 1, there is no number {shell}")
    bodies = [_lead(shell, shape, centre) for centre in centres(shape)]
    lead = min(bodies, key=lambda body: abs(int(body.sum()) - shell**3))
    sulfur = np.zeros_like(lead)
    for corner in CORNERS:  # nothing wraps around: the outermost layer of `lead` is empty
        sulfur += np.roll(lead, corner, axis=(0, 1, 2))
    return lead, sulfur


def _lead(shell: int, shape: Shape, centre: Point) -> Int:
    radius = 5.0 * DIAMETER_STEP_NM * shell / (0.5 * LATTICE_PARAMETER)  # in units of a/2
    extent = int(np.floor(radius * reach(shape) + max(centre))) + 1
    axis = np.arange(-extent, extent + 1, dtype=np.float64)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij", sparse=True)
    within = inside(shape, radius, x - centre[0], y - centre[1], z - centre[2])
    return (within & ((x + y + z) % 2 == 0)).astype(np.int64)


def atoms(shell: int, shape: Shape = Shape.SPHERE) -> tuple[npt.NDArray[np.float64], Int, Int]:
    """Sites of a cluster: positions (n, 3) in units of a/2, lead (n,) 0/1, eighths of S (n,)."""
    lead, sulfur = occupancies(shell, shape)
    sites = np.argwhere((lead > 0) | (sulfur > 0))
    index = tuple(sites.T)
    return sites.astype(np.float64) - lead.shape[0] // 2, lead[index], sulfur[index]
