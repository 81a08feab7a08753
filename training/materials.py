"""Patterns that are not PbS, random, so that the network meets what it must refuse.

Only positions and shapes matter: powder lines of common lattices with any lattice parameter, width
and intensities, single steps and bumps, and combs of ripples. Named materials serve the tests.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]

PBS_BAND = (5.78, 6.08)
"""Cubic parameters (Å) that a rock-salt-like foreign powder must not have: PbS itself, strained."""

NAMED: dict[str, tuple[str, float]] = {
    "CeO2": ("fcc", 5.411),
    "Ni": ("fcc", 3.524),
    "Au": ("fcc", 4.078),
    "CdSe": ("diamond", 6.052),
    "PbSe": ("fcc", 6.124),
    "PbTe": ("fcc", 6.462),
    "LaB6": ("sc", 4.157),
    "Si": ("diamond", 5.431),
    "Fe": ("bcc", 2.866),
}
"""Lattice (by its reflection rule) and cubic parameter in Å."""


def reflections(lattice: str, a: float, q_max: float = 15.6) -> tuple[Float, Float]:
    """(Q in 1/Å, number of planes) of a cubic lattice up to `q_max`."""
    top = int(q_max * a / (2 * np.pi)) + 1
    axis = np.arange(-top, top + 1)
    h, k, m = (plane.ravel() for plane in np.meshgrid(axis, axis, axis, indexing="ij"))
    total = h**2 + k**2 + m**2
    parity = (h % 2) + (k % 2) + (m % 2)
    unmixed = (parity == 0) | (parity == 3)
    rules = {
        "sc": total > 0,
        "bcc": (h + k + m) % 2 == 0,
        "fcc": unmixed,
        "diamond": unmixed & ((parity == 3) | ((h + k + m) % 4 == 0)),
    }
    keep = rules[lattice] & (total > 0) & (2 * np.pi / a * np.sqrt(total) < q_max)
    squared, planes = np.unique(total[keep], return_counts=True)
    return 2 * np.pi / a * np.sqrt(squared), planes.astype(np.float64)


def lines(q: Float, centres: Float, heights: Float, width: float) -> Float:
    """Sum of pseudo-Voigt lines of one FWHM (1/Å), shape (nq,)."""
    u = (q[:, None] - centres) / (0.5 * width)
    shape = 0.5 * np.exp2(-np.minimum(u**2, 60.0)) + 0.5 / (1.0 + u**2)
    return shape @ heights


def powder(q: Float, lattice: str, a: float, width: float, rng: np.random.Generator) -> Float:
    """Powder pattern of mean 1 with random structure factors and Debye-Waller damping."""
    centres, planes = reflections(lattice, a)
    strength = rng.uniform(0.1, 1.0, centres.size) * planes / centres**2
    strength *= np.exp(-2.0 * rng.uniform(0.3, 1.5) * (centres / (4 * np.pi)) ** 2)
    pattern = lines(q, centres, strength, width)
    pattern += rng.uniform(0.0, 0.3) * pattern.max() * np.exp(-q / rng.uniform(3, 12))
    return pattern / pattern.mean()


def named(q: Float, name: str, crystallite_nm: float, rng: np.random.Generator) -> Float:
    """Powder pattern of one of `NAMED`; lines are 2π·0.9/size wide (Scherrer)."""
    lattice, a = NAMED[name]
    return powder(q, lattice, a, 2 * np.pi * 0.9 / (10.0 * crystallite_nm), rng)


def foreign(q: Float, rng: np.random.Generator) -> Float:
    """Any foreign pattern, shape (nq,), mean 1."""
    kind = rng.random()
    if kind < 0.55:
        return _random_powder(q, rng)
    if kind < 0.8:
        centres = rng.uniform(0.8, 15.0, rng.integers(1, 30))
        pattern = lines(q, centres, rng.exponential(1.0, centres.size), rng.uniform(0.015, 0.5))
        pattern += rng.uniform(0.0, 0.5)
        return pattern / pattern.mean()
    if kind < 0.9:
        edges = np.sort(rng.uniform(0.9, 15.0, rng.integers(1, 4)))
        levels = rng.uniform(0.05, 2.0, edges.size + 1)
        pattern = levels[np.searchsorted(edges, q)]
        return pattern / pattern.mean()
    pattern = 1.0 + rng.uniform(0.05, 0.9) * np.sin(q * rng.uniform(4.0, 120.0) + rng.uniform(0, 6))
    return pattern / pattern.mean()


def _random_powder(q: Float, rng: np.random.Generator) -> Float:
    lattice = str(rng.choice(["sc", "bcc", "fcc", "diamond"]))
    a = rng.uniform(2.7, 7.2)
    while lattice == "fcc" and PBS_BAND[0] < a < PBS_BAND[1]:
        a = rng.uniform(2.7, 7.2)
    return powder(q, lattice, a, 10.0 ** rng.uniform(-1.8, -0.3), rng)


def foreign_bank(q: Float, count: int, seed: int) -> npt.NDArray[np.float32]:
    """`count` foreign patterns on `q`, shape (count, nq)."""
    rng = np.random.default_rng(seed)
    return np.array([foreign(q, rng) for _ in range(count)], dtype=np.float32)
