"""Rhombohedral elongation along a body diagonal: the metric of the lattice, volume kept.

Stretching [111] by 1 + e and shrinking everything across it by (1 + e)^(-1/2) takes a difference
vector d, integers in units of a/2, to the squared length dᵀ G d with the metric tensor
G = p·1 + (s - p)·n nᵀ, n = [111]/√3 (International Tables for Crystallography A, 1.5):

    r² / (a/2)² = p·m + (s - p)·t²/3,   m = d·d,   t = d·[1 1 1],   s = (1 + e)²,   p = 1/(1 + e).

A distance depends on the two integers m and |t| alone, so pairs can still be counted exactly.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]

MAX_ELONGATION = 0.1
"""Refused beyond: no PbS nanocrystal is known to be distorted by a tenth of that."""


def check_elongation(elongation: float) -> None:
    """Raise ValueError unless |elongation| ≤ 0.1."""
    if not abs(elongation) <= MAX_ELONGATION:
        raise ValueError(
            f"elongation {elongation:g} is not within ±{MAX_ELONGATION:g}; 0.007 means 0.7 %"
        )


def squared_distance(m: Int, t: Int, elongation: float) -> Float:
    """r²/(a/2)² of difference vectors by m = d·d and t = d·[111]; equals m without elongation."""
    along, across = (1.0 + elongation) ** 2, 1.0 / (1.0 + elongation)
    return across * m + (along - across) / 3.0 * t.astype(np.float64) ** 2


def stretched(positions: Float, elongation: float) -> Float:
    """Positions (n, 3), any unit, after the elongation along [111] through the origin."""
    along, across = 1.0 + elongation, (1.0 + elongation) ** -0.5
    shift = (along - across) / 3.0 * positions.sum(axis=1, keepdims=True)
    return across * positions + shift
