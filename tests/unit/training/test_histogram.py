"""The pair-histogram engine against the sum over all pairs."""

import numpy as np
import pytest

from qd_agent.scattering.form_factors import lead_sulfide
from qd_agent.scattering.forward import intensity
from training import histogram
from training.atoms import LEAD, SULFUR, Atoms, Species, cluster_atoms
from training.debye import build_library, partial_sums
from training.histogram import interference
from training.shapes import Shape

Q = 0.99 + 0.1 * np.arange(141)


def brute_force(atoms: Atoms, q: np.ndarray) -> np.ndarray:
    r = np.linalg.norm(atoms.positions[:, None] - atoms.positions[None], axis=-1)
    kinds = np.eye(len(atoms.species))[atoms.kind] * atoms.occupancy[:, None]
    off = 1.0 - np.eye(len(r))
    rows = [kinds.T @ (np.sinc(x * r / np.pi) * off) @ kinds for x in q]
    return np.array(rows).transpose(1, 2, 0)


def cloud(count: int, seed: int, radius: float) -> Atoms:
    """Atoms anywhere, no two closer than 0.8 Å, of three species with any occupancy."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(count ** (1.0 / 3.0)))
    sites = np.argwhere(np.ones((side, side, side)))[rng.permutation(side**3)[:count]]
    spacing = 2.0 * radius / side
    points = spacing * sites + rng.uniform(0.0, spacing - 0.8, (count, 3))
    species = (LEAD, SULFUR, Species("Cd", 0.7))
    return Atoms(points, rng.integers(0, 3, count), rng.uniform(0.1, 1.0, count), species)


@pytest.mark.parametrize(("count", "radius"), [(2, 3.0), (60, 6.0), (300, 25.0)])
def test_any_arrangement_is_within_1e_6_of_the_sum_over_all_pairs(count: int, radius: float):
    atoms = cloud(count, count, radius)
    found, expected = interference(atoms, Q).pairs, brute_force(atoms, Q)
    for a in range(3):
        for b in range(3):
            error = np.linalg.norm(found[a, b] - expected[a, b])
            assert error <= 1e-6 * np.linalg.norm(expected[a, b])
    np.testing.assert_array_equal(found, found.transpose(1, 0, 2))


def test_small_batches_count_the_same_pairs(monkeypatch: pytest.MonkeyPatch):
    atoms = cloud(90, 5, 8.0)
    whole = interference(atoms, Q)
    for pairs_at_once in (1, 40, 700):
        monkeypatch.setattr(histogram, "PAIRS_AT_ONCE", pairs_at_once)
        np.testing.assert_allclose(interference(atoms, Q).pairs, whole.pairs, atol=1e-9)


def test_a_finer_grid_errs_less():
    atoms = cloud(100, 7, 12.0)
    exact = brute_force(atoms, Q)[0, 0]
    errors = [
        np.linalg.norm(interference(atoms, Q, aliasing).pairs[0, 0] - exact)
        for aliasing in (1e-3, 1e-5, 1e-7, 1e-9)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-8 * np.linalg.norm(exact)


@pytest.mark.parametrize(("shape", "elongation"), [(Shape.SPHERE, 0.0), (Shape.CUBE, 0.007)])
def test_a_lattice_gives_the_sums_of_the_lattice_engine(shape: Shape, elongation: float):
    atoms = cluster_atoms(5, shape, elongation, lattice_scale=1.003)
    library = build_library(2.6, shape, elongation)
    row = int(np.searchsorted(library.lead, (atoms.kind == 0).sum()))
    exact, found = partial_sums(library, Q, 1.003), interference(atoms, Q).lead_sulfide()
    for name in ("lead_lead", "lead_sulfur", "sulfur_sulfur"):
        expected = getattr(exact, name)[row]
        assert np.linalg.norm(getattr(found, name) - expected) < 1e-6 * np.linalg.norm(expected)
    assert found.lead[0] == exact.lead[row]
    assert found.sulfur[0] == pytest.approx(exact.sulfur[row, 0])


def test_the_intensity_is_that_of_the_forward_model():
    found = interference(cluster_atoms(4), Q)
    expected = intensity(found.lead_sulfide(), lead_sulfide(Q, 0.1839), Q)
    np.testing.assert_allclose(found.intensity(0.1839), expected, rtol=1e-12)


def test_points_at_any_distance_and_tiny_q_are_summed_too():
    atoms = cloud(50, 11, 7.0)
    q = np.array([1e-4, 0.02, 0.5])
    np.testing.assert_allclose(interference(atoms, q).pairs, brute_force(atoms, q), rtol=1e-6)


def test_a_single_atom_has_no_pairs():
    alone = Atoms(np.zeros((1, 3)), np.zeros(1, np.int64), np.ones(1), (LEAD,))
    found = interference(alone, Q)
    assert not found.pairs.any()
    assert found.counts.tolist() == [1.0]
    with pytest.raises(ValueError, match="two species Pb and S"):
        found.lead_sulfide()


def test_atoms_in_one_place_are_refused():
    twice = Atoms(np.zeros((2, 3)), np.zeros(2, np.int64), np.ones(2), (LEAD,))
    with pytest.raises(ValueError, match="in one place"):
        interference(twice, Q)


@pytest.mark.parametrize("q", [np.array([]), np.array([0.0, 1.0]), np.array([2.0, 1.0])])
def test_a_bad_grid_is_refused(q: np.ndarray):
    with pytest.raises(ValueError, match="increasing sequence of positive"):
        interference(cloud(3, 1, 3.0), q)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"positions": np.zeros((2, 2))}, r"must be \(n, 3\)"),
        ({"positions": np.zeros((0, 3))}, r"must be \(n, 3\)"),
        ({"positions": np.full((2, 3), np.nan)}, "finite"),
        ({"kind": np.zeros(3, np.int64)}, "as many kinds"),
        ({"kind": np.array([0, 1])}, "kinds must be 0 to 0"),
        ({"occupancy": np.array([1.0, np.inf])}, "finite"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changed: dict[str, np.ndarray], said: str):
    good = {"positions": np.eye(3)[:2], "kind": np.zeros(2, np.int64), "occupancy": np.ones(2)}
    with pytest.raises(ValueError, match=said):
        Atoms(**{**good, **changed}, species=(LEAD,))
