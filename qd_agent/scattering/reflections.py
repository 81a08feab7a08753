"""Reflections of PbS, for preferred orientation: which heights change together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qd_agent.scattering.ensemble import LATTICE_PARAMETER

Float = npt.NDArray[np.float64]

FAMILIES: tuple[tuple[int, int], ...] = (
    (3, 0), (4, 1), (8, 2), (11, 3), (12, 0), (16, 1), (19, 4), (20, 5), (24, 6), (27, 0), (32, 2)
)  # fmt: skip
"""(h² + k² + l², family) of the reflections of rock salt up to 6 1/Å; the orders of one reflection
share a family, because they share a direction."""

PRINCIPAL = 3
"""Families 0, 1, 2 are the directions 111, 100 and 110."""


def positions() -> Float:
    """Q of the reflections in `FAMILIES`, 1/Å, bulk lattice."""
    squared = np.array([n for n, _ in FAMILIES], dtype=np.float64)
    return 2.0 * np.pi / LATTICE_PARAMETER * np.sqrt(squared)


def family_gains(q: Float) -> Float:
    """Shape (families, nq): for each, 1 at its reflections, 0 at others, linear between.

    Level below the first reflection, and falling to 0 within 1.5 1/Å above the last.
    """
    nodes = positions()
    stops = np.concatenate([nodes, nodes[-1:] + 1.5])
    families = np.array([family for _, family in FAMILIES])
    return np.array(
        [
            np.interp(q, stops, np.append((families == family).astype(np.float64), 0.0))
            for family in range(families.max() + 1)
        ]
    )
