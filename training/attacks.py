"""Patterns that must get no size: other materials, nothing at all, broken frames. For tests only.

Nothing here is used for training. Nanocrystals of other materials are sums over their own atoms
(Debye, Ann. Phys. 351 (1915) 809) with the form factors of Waasmaier and Kirfel: for a sphere cut
out of a lattice at a random place, the mean number of pairs at a distance r is the lattice's times
the common volume 1 − 3r/2D + r³/2D³ of the sphere and itself shifted by r (Guinier 1963).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline

from qd_agent.core.pattern import PUBLISHED_GRID, Pattern
from qd_agent.scattering.form_factors import f0
from training.cramer_rao import LIQUIDS, Parameters, PhysicalLimit, hydrocarbon

Float = npt.NDArray[np.float64]

DISTANCE_BIN = 0.01
"""Å; pairs in one bin share the mean of their distances."""

DISPERSION = 0.10
SIZES_NM: tuple[float, ...] = (2.0, 3.0, 4.0, 6.0, 8.0)
COUNTS: tuple[float, ...] = (571.0, 14280.0)
"""Mean counts per point."""


@dataclass(frozen=True, slots=True)
class Attack:
    """A pattern that must not be sized; `family` is the kind of attack."""

    family: str
    name: str
    pattern: Pattern


@dataclass(frozen=True, slots=True)
class Crystal:
    """A unit cell: vectors as rows (Å), atoms as (element, fractional position); one B in Å²."""

    name: str
    cell: tuple[tuple[float, float, float], ...]
    atoms: tuple[tuple[str, tuple[float, float, float]], ...]
    b: float = 0.7


FACES = ((0.0, 0.0, 0.0), (0.0, 0.5, 0.5), (0.5, 0.0, 0.5), (0.5, 0.5, 0.0))


def _cubic(name: str, a: float, *sublattices: tuple[str, float], b: float = 0.7) -> Crystal:
    """Face-centred sublattices, each shifted by a part of the body diagonal."""
    atoms = tuple(
        (element, (x + shift, y + shift, z + shift))
        for element, shift in sublattices
        for x, y, z in FACES
    )
    return Crystal(name, ((a, 0.0, 0.0), (0.0, a, 0.0), (0.0, 0.0, a)), atoms, b)


def _wurtzite(name: str, cation: str, anion: str, *, a: float, c: float, u: float) -> Crystal:
    third, two = 1.0 / 3.0, 2.0 / 3.0
    return Crystal(
        name,
        ((a, 0.0, 0.0), (-0.5 * a, a * np.sqrt(0.75), 0.0), (0.0, 0.0, c)),
        (
            (cation, (third, two, 0.0)),
            (cation, (two, third, 0.5)),
            (anion, (third, two, u)),
            (anion, (two, third, 0.5 + u)),
        ),
    )


def crystals() -> tuple[Crystal, ...]:
    """Other materials, with the lattice parameters (Å) of their bulk at room temperature."""
    return (
        _cubic("Ni", 3.524, ("Ni", 0.0), b=0.4),
        _cubic("Au", 4.078, ("Au", 0.0), b=0.6),
        _cubic("CdSe zinc blende", 6.052, ("Cd", 0.0), ("Se", 0.25), b=1.0),
        _cubic("CdS zinc blende", 5.832, ("Cd", 0.0), ("S", 0.25), b=1.0),
        _cubic("InP zinc blende", 5.869, ("In", 0.0), ("P", 0.25), b=1.0),
        _cubic("HgS zinc blende", 5.851, ("Hg", 0.0), ("S", 0.25), b=1.0),
        _wurtzite("CdSe wurtzite", "Cd", "Se", a=4.299, c=7.010, u=0.376),
        _cubic("CeO2", 5.411, ("Ce", 0.0), ("O", 0.25), ("O", 0.75), b=0.4),
        _cubic("PbSe", 6.124, ("Pb", 0.0), ("Se", 0.5), b=1.3),
        _cubic("PbTe", 6.462, ("Pb", 0.0), ("Te", 0.5), b=1.4),
    )


class ForeignNanocrystals:
    """Debye sums of spheres of one crystal, on the published grid."""

    def __init__(self, crystal: Crystal, max_diameter_nm: float = 11.0) -> None:
        self._cell_volume = abs(float(np.linalg.det(np.array(crystal.cell))))
        self._elements = sorted({element for element, _ in crystal.atoms})
        self._numbers = {
            e: sum(1 for element, _ in crystal.atoms if element == e) for e in self._elements
        }
        self._pairs = _pairs(crystal, 10.0 * max_diameter_nm)
        self._q = np.arange(0.98, 15.01, 0.0056)
        self._damping = np.exp(-2.0 * crystal.b * (self._q / (4.0 * np.pi)) ** 2)
        self._form = {e: f0(e, self._q) for e in self._elements}
        self._sines = {
            key: np.sinc(np.multiply.outer(r, self._q) / np.pi)
            for key, (r, _) in self._pairs.items()
        }

    def pattern(self, diameter_nm: float, dispersion: float = DISPERSION) -> Float:
        """I(Q) of a lognormal ensemble, shape (5004,), mean 1."""
        width = np.sqrt(np.log1p(dispersion**2))
        sizes = 10.0 * diameter_nm * np.exp(width * np.linspace(-2.5, 2.5, 21) - 0.5 * width**2)
        weights = np.exp(-0.5 * np.linspace(-2.5, 2.5, 21) ** 2)
        cells = np.pi / 6.0 * sizes**3 / self._cell_volume * weights
        total = cells.sum() * sum(self._numbers[e] * self._form[e] ** 2 for e in self._elements)
        for (one, other), (r, counts) in self._pairs.items():
            part = np.minimum(r[None, :] / sizes[:, None], 1.0)
            common = 1.0 - 1.5 * part + 0.5 * part**3
            sums = ((cells @ common) * counts) @ self._sines[one, other]
            total = total + self._damping * self._form[one] * self._form[other] * sums
        values = CubicSpline(self._q, total)(PUBLISHED_GRID.values())
        return np.asarray(values / values.mean(), dtype=np.float64)


def _pairs(crystal: Crystal, reach: float) -> dict[tuple[str, str], tuple[Float, Float]]:
    """Ordered pairs per unit cell by elements: (mean distance of each bin, number of pairs)."""
    cell = np.array(crystal.cell)
    spacing = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    tops = np.ceil(reach / spacing).astype(int) + 1
    axes = [np.arange(-top, top + 1) for top in tops]
    vectors = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3) @ cell
    found: dict[tuple[str, str], tuple[Float, Float]] = {}
    bins = int(reach / DISTANCE_BIN) + 1
    sums: dict[tuple[str, str], Float] = {}
    for (one, here), (other, there) in itertools.product(crystal.atoms, repeat=2):
        r = np.linalg.norm(vectors + (np.array(there) - np.array(here)) @ cell, axis=1)
        r = r[(r > 0.1) & (r < reach)]
        index = (r / DISTANCE_BIN).astype(int)
        count = np.bincount(index, minlength=bins).astype(np.float64)
        total = np.bincount(index, weights=r, minlength=bins)
        key = (one, other)
        sums[key] = sums.get(key, np.zeros((2, bins))) + np.stack([count, total])
    for key, (count, total) in sums.items():
        used = count > 0
        found[key] = (total[used] / count[used], count[used])
    return found


def glass(q: Float) -> Float:
    """Capillary: the first maximum of silica at 1.5 1/Å, weaker ones at 3.0 and 5.2; mean 1."""
    u = [((q - c) / w) ** 2 for c, w in ((1.52, 0.28), (2.95, 0.45), (5.2, 0.6))]
    halo = np.exp(-0.5 * u[0]) + 0.18 * np.exp(-0.5 * u[1]) + 0.15 * np.exp(-0.5 * u[2])
    halo = halo + 0.25 * np.exp(-q / 6.0) + 0.05
    return halo / halo.mean()


def air(q: Float) -> Float:
    """Air and small-angle scattering: 1/Q² over a constant; mean 1."""
    fall = q**-2.0 + 0.05
    return fall / fall.mean()


def counted(expected: Float, counts: float, rng: np.random.Generator) -> Pattern:
    """Poisson counts of a pattern, mean `counts` per point; sigma is their root."""
    mean = np.maximum(expected, 0.0) * counts / expected.mean()
    values = rng.poisson(mean).astype(np.float64)
    return Pattern(values, np.sqrt(values), np.ones_like(values))


def foreign_nanocrystals(rng: np.random.Generator) -> Iterator[Attack]:
    """Every crystal, size, surrounding and noise."""
    q = PUBLISHED_GRID.values()
    around = {
        "pure": (1.0, air(q)),
        "30 % in liquid": (0.3, hydrocarbon(q)),
        "30 % in glass": (0.3, glass(q)),
        "10 % in liquid": (0.1, hydrocarbon(q, LIQUIDS[1])),
    }
    for crystal in crystals():
        simulator = ForeignNanocrystals(crystal)
        for size in SIZES_NM:
            signal = simulator.pattern(size)
            for (where, (share, halo)), counts in itertools.product(around.items(), COUNTS):
                pattern = counted(share * signal + (1.0 - share) * halo, counts, rng)
                yield Attack(crystal.name, f"{size:g} nm, {where}, {counts:g} counts", pattern)


def smooth_patterns(rng: np.random.Generator) -> Iterator[Attack]:
    """Flat, power laws, liquids, empty cells: each exact and with noise."""
    q = PUBLISHED_GRID.values()
    shapes: dict[str, dict[str, Float]] = {
        "flat": {"flat": np.ones_like(q)},
        "power law": {f"1/Q^{n:g}": q**-n for n in (0.5, 1.0, 2.0, 3.0, 4.0)}
        | {f"exp(-Q/{w:g})": np.exp(-q / w) for w in (1.0, 4.0)},
        "liquid": {kind: hydrocarbon(q, kind) for kind in LIQUIDS},
        "empty cell": {
            f"glass {g:g}, air {a:g}, flat {1 - g - a:.1f}": g * glass(q) + a * air(q) + (1 - g - a)
            for g, a in ((0.8, 0.1), (0.5, 0.4), (0.3, 0.3), (0.1, 0.8))
        },
    }
    for family, members in shapes.items():
        for name, shape in members.items():
            ones = np.ones_like(q)
            yield Attack(family, f"{name}, exact", Pattern(shape, 0.0 * ones, ones))
            for counts in (20.0, 214.0, 2142.0, 14280.0, 1e6):
                yield Attack(family, f"{name}, {counts:g} counts", counted(shape, counts, rng))


def dark_frames(rng: np.random.Generator) -> Iterator[Attack]:
    """Detector without beam: zeros, rare counts, read noise, read noise on an offset."""
    q = PUBLISHED_GRID.values()
    ones = np.ones_like(q)

    def attack(name: str, values: Float) -> Attack:
        return Attack("dark", name, Pattern(values, 0.0 * ones, ones))

    yield attack("zeros", 0.0 * ones)
    for rate in (0.001, 0.02, 0.5):
        yield attack(f"{rate:g} counts per point", rng.poisson(rate * ones).astype(np.float64))
    yield attack("read noise", rng.normal(0.0, 1.0, q.size))
    for offset in (1.0, 10.0, 1000.0):
        yield attack(f"offset {offset:g}, read noise 1", offset + rng.normal(0.0, 1.0, q.size))
    hot = offset_spikes(rng, ones)
    yield attack("offset with hot pixels", hot)


def offset_spikes(rng: np.random.Generator, ones: Float) -> Float:
    """A dark offset with a hundred hot points."""
    values = 10.0 * ones + rng.normal(0.0, 1.0, ones.size)
    values[rng.integers(0, ones.size, 100)] += rng.exponential(200.0, 100)
    return values


def oblique(q: Float, wavelength: float = 0.1839) -> Float:
    """Solid angle of a flat detector's pixels, 1/cos³ 2θ, as integration takes it out."""
    return np.cos(2.0 * np.arcsin(q * wavelength / (4.0 * np.pi))) ** -3.0


CLIP_LEVELS: tuple[float, ...] = (0.9, 0.7, 0.5, 0.3, 0.1)
"""Of the highest point: everything above reads as this, as on a saturated detector."""


def saturated_frames(limit: PhysicalLimit, rng: np.random.Generator) -> Iterator[Attack]:
    """Good patterns of PbS, cut off at a level."""
    for size, share in itertools.product((3.0, 5.0, 8.0), (1.0, 0.37)):
        given = limit.with_average(Parameters(size, share=share, counts=14280.0), size)
        values = rng.poisson(limit.expected(given)).astype(np.float64)
        for level in CLIP_LEVELS:
            cut = np.minimum(values, level * values.max())
            name = f"{size:g} nm, {share:.0%}, cut at {level:g} of the maximum"
            yield Attack("saturated", name, Pattern(cut, np.sqrt(cut), np.ones_like(cut)))
            bent = cut * oblique(PUBLISHED_GRID.values())
            name = f"{name}, then corrected"
            yield Attack(
                "saturated, corrected", name, Pattern(bent, np.sqrt(bent), np.ones_like(cut))
            )


def all_attacks(limit: PhysicalLimit, seed: int = 0) -> list[Attack]:
    """Every simulated attack; about 400 patterns in half a minute."""
    families: tuple[Callable[[np.random.Generator], Iterator[Attack]], ...] = (
        smooth_patterns,
        dark_frames,
        foreign_nanocrystals,
    )
    found: list[Attack] = []
    for offset, family in enumerate(families):
        found += family(np.random.default_rng((seed, offset)))
    return found + list(saturated_frames(limit, np.random.default_rng((seed, 99))))
