"""Patterns that must get no size."""

import numpy as np
import pytest

from qd_agent.core.pattern import PUBLISHED_GRID
from training.attacks import (
    CLIP_LEVELS,
    Crystal,
    ForeignNanocrystals,
    crystals,
    dark_frames,
    glass,
    saturated_frames,
    smooth_patterns,
)
from training.cramer_rao import PhysicalLimit
from training.debye import build_library

Q = PUBLISHED_GRID.values()


def by_name(name: str) -> Crystal:
    return next(c for c in crystals() if c.name == name)


def test_unit_cells_hold_the_right_atoms():
    counts = {c.name: len(c.atoms) for c in crystals()}
    assert counts == {
        "Ni": 4, "Au": 4, "CdSe zinc blende": 8, "CdS zinc blende": 8, "InP zinc blende": 8,
        "HgS zinc blende": 8, "CdSe wurtzite": 4, "CeO2": 12, "PbSe": 8, "PbTe": 8,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "first", "strongest"),
    [("Ni", 111, 111), ("Au", 111, 111), ("PbSe", 111, 200), ("CeO2", 111, 111)],
)
def test_reflections_stand_where_the_lattice_puts_them(name: str, first: int, strongest: int):
    crystal = by_name(name)
    a = crystal.cell[0][0]
    pattern = ForeignNanocrystals(crystal, 8.0).pattern(6.0)
    squared = {111: 3.0, 200: 4.0}
    peak = 2 * np.pi / a * np.sqrt(squared[strongest])
    assert Q[pattern.argmax()] == pytest.approx(peak, abs=0.03)
    lowest = 2 * np.pi / a * np.sqrt(squared[first])
    near = pattern[(lowest - 0.05 < Q) & (lowest + 0.05 > Q)].max()
    before = pattern[(lowest - 0.4 < Q) & (lowest - 0.25 > Q)].max()
    assert near > 2 * before


def test_a_sphere_agrees_with_the_sum_over_its_atoms():
    """Averaged over where the sphere is cut out, as the formula is."""
    crystal = by_name("Au")
    fast = ForeignNanocrystals(crystal, 3.0)
    q = fast._q[::50]
    a, rng = crystal.cell[0][0], np.random.default_rng(0)
    axis = np.arange(-5, 6)
    cells = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 1, 3)
    sites = (cells + np.array([x for _, x in crystal.atoms])).reshape(-1, 3) * a
    total, atoms = np.zeros_like(q), 0
    for _ in range(40):
        inside = sites[np.linalg.norm(sites - rng.uniform(-a, a, 3), axis=1) <= 7.5]
        r = np.linalg.norm(inside[:, None] - inside, axis=-1)[np.triu_indices(len(inside), 1)]
        total += 2 * np.sinc(np.multiply.outer(q, r) / np.pi).sum(axis=1)
        atoms += len(inside)
    brute = fast._form["Au"][::50] ** 2 * (1 + fast._damping[::50] * total / atoms)
    ours = fast.pattern(1.5, dispersion=1e-6)
    ours = np.interp(q, Q, ours)
    kept = (q > 2.0) & (q < 14.0)
    brute, ours = brute[kept] / brute[kept].mean(), ours[kept] / ours[kept].mean()
    assert np.linalg.norm(brute - ours) / np.linalg.norm(brute) < 0.03


def test_larger_crystals_have_narrower_peaks():
    simulator = ForeignNanocrystals(by_name("PbTe"), 9.0)
    small, large = simulator.pattern(2.0), simulator.pattern(6.0)
    assert large.max() > 2.5 * small.max()


def test_attacks_are_seeded_and_clipped_ones_are_flat_on_top():
    first = [a.pattern.intensity for a in dark_frames(np.random.default_rng(1))]
    again = [a.pattern.intensity for a in dark_frames(np.random.default_rng(1))]
    assert all(np.array_equal(x, y) for x, y in zip(first, again, strict=True))
    limit = PhysicalLimit(build_library(11.0))
    clipped = [
        a for a in saturated_frames(limit, np.random.default_rng(0)) if a.family == "saturated"
    ]
    assert len(clipped) == 6 * len(CLIP_LEVELS)
    for attack in clipped:
        y = attack.pattern.intensity
        assert (y == y.max()).sum() >= 2


def test_smooth_attacks_are_finite_and_positive():
    families = set()
    for attack in smooth_patterns(np.random.default_rng(0)):
        families.add(attack.family)
        assert np.isfinite(attack.pattern.intensity).all()
        assert attack.pattern.intensity.min() >= 0
    assert families == {"flat", "power law", "liquid", "empty cell"}
    assert glass(Q).mean() == pytest.approx(1.0)
