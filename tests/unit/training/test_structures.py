"""Nanocrystals that are no perfect lattice."""

import numpy as np
import pytest

from qd_agent.scattering.ensemble import LATTICE_PARAMETER
from training.atoms import Atoms, cluster_atoms
from training.histogram import interference
from training.shapes import Shape
from training.structures import (
    Coating,
    core_shell,
    depth,
    disordered,
    lead_off_centre,
    relaxed_surface,
)

DOT = cluster_atoms(8)
QUARTER = np.sqrt(3.0) / 4.0 * LATTICE_PARAMETER


def separations(atoms: Atoms, first: str, second: str) -> np.ndarray:
    elements = np.array([s.element for s in atoms.species])[atoms.kind]
    a, b = atoms.positions[elements == first], atoms.positions[elements == second]
    r = np.linalg.norm(a[:, None] - b[None], axis=-1)
    return np.where(r < 1e-9, np.inf, r)


@pytest.mark.parametrize("shape", list(Shape))
def test_depth_is_zero_outside_and_the_radius_at_the_centre(shape: Shape):
    below = depth(cluster_atoms(8, shape), shape)
    assert below.min() == 0.0
    assert below.max() == pytest.approx(10 * 8 * 0.4638 / 2, rel=0.25)


def test_a_relaxed_surface_moves_the_outside_and_leaves_the_inside():
    relaxed = relaxed_surface(DOT, 0.02, 2.0)
    moved = np.linalg.norm(relaxed.positions - DOT.positions, axis=1)
    below = depth(DOT)
    radius = np.linalg.norm(DOT.positions, axis=1)
    assert moved[below < 0.5].min() > 0.012 * radius.max()
    assert moved[below > 14.0].max() < 1e-3
    contracted = relaxed_surface(DOT, -0.02, 2.0).positions[below == 0.0]
    np.testing.assert_allclose(np.linalg.norm(contracted, axis=1), 0.98 * radius[below == 0.0])
    with pytest.raises(ValueError, match="positive thickness"):
        relaxed_surface(DOT, 0.01, 0.0)


def test_disorder_everywhere_damps_as_b_does():
    q = np.linspace(6.0, 12.0, 300)
    sd, dot = 0.08, cluster_atoms(5)
    still = interference(dot, q).pairs[0, 0]
    rng = np.random.default_rng(4)
    shaken = np.mean([interference(disordered(dot, sd, rng), q).pairs[0, 0] for _ in range(8)], 0)
    expected = still * np.exp(-(q**2) * sd**2)
    assert np.linalg.norm(shaken - expected) < 0.12 * np.linalg.norm(expected)
    assert np.linalg.norm(shaken - still) > 3 * np.linalg.norm(shaken - expected)


def test_surface_disorder_spares_the_core_and_is_seeded():
    one = disordered(DOT, 0.2, np.random.default_rng(1), thickness=1.0)
    two = disordered(DOT, 0.2, np.random.default_rng(1), thickness=1.0)
    np.testing.assert_array_equal(one.positions, two.positions)
    moved = np.linalg.norm(one.positions - DOT.positions, axis=1)
    assert moved[depth(DOT) < 1.0].mean() > 0.1
    assert moved[depth(DOT) > 10.0].max() < 1e-3


def test_lead_moves_along_a_common_body_diagonal():
    moved = lead_off_centre(DOT, 0.1)
    shift = moved.positions - DOT.positions
    np.testing.assert_allclose(shift[DOT.kind == 0], 0.1 / np.sqrt(3.0))
    assert not shift[DOT.kind == 1].any()
    bond = LATTICE_PARAMETER / 2
    assert separations(moved, "Pb", "S").min() == pytest.approx(bond - 0.1 / np.sqrt(3.0), abs=2e-3)
    # the lead lattice moved as one
    np.testing.assert_allclose(separations(moved, "Pb", "Pb"), separations(DOT, "Pb", "Pb"))


def test_lead_moves_along_random_body_diagonals():
    moved = lead_off_centre(DOT, 0.1, np.random.default_rng(0))
    shift = (moved.positions - DOT.positions)[DOT.kind == 0]
    np.testing.assert_allclose(np.linalg.norm(shift, axis=1), 0.1)
    assert len(np.unique(np.sign(shift), axis=0)) == 8
    assert np.abs(shift.mean(axis=0)).max() < 0.02


@pytest.mark.parametrize("shape", [Shape.SPHERE, Shape.OCTAHEDRON, Shape.CUBE])
def test_a_zinc_blende_shell_has_four_neighbours_and_keeps_off_the_core(shape: Shape):
    dot = cluster_atoms(10, shape)
    coated = core_shell(dot, Coating(thickness=6.0, lattice_parameter=LATTICE_PARAMETER), shape)
    assert [s.element for s in coated.species] == ["Pb", "S", "Cd"]
    assert (coated.kind == 2).sum() + (coated.kind == 0).sum() == (dot.kind == 0).sum()
    assert (coated.kind == 0).sum() > 20
    bonds = separations(coated, "Cd", "S")
    assert bonds.min() == pytest.approx(QUARTER, rel=1e-6)
    # a corner that the core's own cells do not reach may lack its sulfur
    neighbours = (bonds < 1.01 * QUARTER).sum(axis=1)
    assert neighbours.max() == 4
    assert neighbours.min() >= 3
    assert separations(coated, "Cd", "Pb").min() > 1.1 * QUARTER
    assert separations(coated, "Cd", "Cd").min() > 1.1 * QUARTER


def test_a_shell_takes_its_own_lattice_parameter():
    coated = core_shell(DOT, Coating(thickness=8.0, tetrahedral=False, lattice_parameter=5.7))
    radius = np.linalg.norm(DOT.positions[DOT.kind == 0], axis=1).max()
    found = np.linalg.norm(coated.positions[coated.kind == 2], axis=1).max()
    assert found == pytest.approx((radius - 8.0) + 8.0 * 5.7 / LATTICE_PARAMETER, abs=0.01)
    core = np.linalg.norm(DOT.positions, axis=1) < radius - 8.0
    np.testing.assert_allclose(coated.positions[core], DOT.positions[core])
    assert (coated.kind[core] != 2).all()


def test_a_coating_thicker_than_the_dot_replaces_all_and_none_is_refused():
    assert not (core_shell(DOT, Coating(thickness=100.0)).kind == 0).any()
    with pytest.raises(ValueError, match="positive thickness"):
        core_shell(DOT, Coating(thickness=0.0))


def test_a_coated_dot_scatters_with_the_form_factors_of_its_elements():
    q = np.linspace(1.0, 6.0, 200)
    plain = interference(DOT, q).intensity(0.1839)
    coated = interference(core_shell(DOT, Coating(thickness=4.0)), q).intensity(0.1839)
    assert coated.shape == plain.shape
    assert (coated > 0).all()
    assert coated.sum() < plain.sum()  # cadmium has fewer electrons than lead
