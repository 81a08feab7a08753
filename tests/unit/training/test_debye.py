"""The lattice engine against the Debye equation, atom by atom."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qd_agent.scattering import forward
from qd_agent.scattering.ensemble import LATTICE_PARAMETER
from training.debye import (
    build_library,
    cell_widths,
    pair_counts,
    pair_counts_between,
    partial_sums,
    sinc_sum,
)
from training.nanocrystal import atoms, occupancies
from training.rhombohedral import stretched
from training.shapes import Shape

Q = np.linspace(0.5, 15.0, 40)


def brute_force(
    shell: int, q: np.ndarray, shape: Shape = Shape.SPHERE, elongation: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    sites, lead, sulfur = atoms(shell, shape)
    position = 0.5 * LATTICE_PARAMETER * stretched(sites, elongation)
    r = np.linalg.norm(position[:, None] - position[None, :], axis=-1)
    wave = np.sinc(q[:, None, None] * r / np.pi)
    off = 1.0 - np.eye(len(r))
    weights = (np.outer(lead, lead) * off, np.outer(lead, sulfur) / 8.0,
               np.outer(sulfur, sulfur) / 64.0 * off)  # fmt: skip
    return tuple((wave * weight).sum(axis=(1, 2)) for weight in weights)  # type: ignore[return-value]


def assert_same(found: forward.PartialSums, row: int, expected: tuple[np.ndarray, ...]) -> None:
    rows = (found.lead_lead[row], found.lead_sulfur[row], found.sulfur_sulfur[row])
    for values, reference in zip(rows, expected, strict=True):
        assert np.linalg.norm(values - reference) <= 1e-12 * np.linalg.norm(reference)


@pytest.mark.parametrize("shell", [1, 2, 3, 5])
def test_partial_sums_equal_the_sum_over_all_pairs(shell: int):
    library = build_library(0.4638 * 5 + 0.1)
    expected = brute_force(shell, Q)
    assert_same(partial_sums(library, Q), shell - 1, expected)
    assert_same(forward.partial_sums(library, Q), shell - 1, expected)


@pytest.mark.parametrize("elongation", [0.0, 0.007, -0.02])
@pytest.mark.parametrize("shape", list(Shape))
def test_every_shape_and_elongation_equals_the_sum_over_all_pairs(shape: Shape, elongation: float):
    library = build_library(2.4, shape, elongation)
    row = int(np.searchsorted(library.lead, occupancies(4, shape)[0].sum()))
    assert_same(partial_sums(library, Q), row, brute_force(4, Q, shape, elongation))


def test_an_elongation_multiplies_the_distances_and_keeps_the_pairs():
    plain, elongated = build_library(3.0), build_library(3.0, elongation=0.005)
    assert elongated.even.size > 2 * plain.even.size
    np.testing.assert_allclose(elongated.lead_lead.sum(axis=1), plain.lead_lead.sum(axis=1))
    np.testing.assert_allclose(elongated.lead_sulfur.sum(axis=1), plain.lead_sulfur.sum(axis=1))
    # one and the same nearest Pb-Pb distance has become two, on either side of it
    assert elongated.even[0] < 2.0 < elongated.even[1]


def test_no_elongation_is_the_limit_of_small_ones():
    plain, tiny = build_library(3.0), build_library(3.0, elongation=1e-9)
    expected, found = partial_sums(plain, Q), partial_sums(tiny, Q)
    np.testing.assert_allclose(found.lead_sulfur, expected.lead_sulfur, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("shape", list(Shape))
def test_diameters_of_shapes_are_those_of_their_volume_and_increase(shape: Shape):
    library = build_library(9.0, shape)
    assert (np.diff(library.diameters) > 0).all()
    np.testing.assert_allclose(library.sulfur, library.lead)
    volume = library.lead * LATTICE_PARAMETER**3 / 4.0 * 1e-3
    by_volume = np.cbrt(6.0 * volume / np.pi)
    if shape is Shape.SPHERE:
        assert np.abs(by_volume[6:] - library.diameters[6:]).max() < 0.15
    else:
        np.testing.assert_allclose(library.diameters, by_volume, rtol=1e-12)
    assert library.diameters[-1] == pytest.approx(9.0, abs=0.5)


def test_cell_widths_undo_uneven_sampling():
    assert cell_widths(np.array([1.0])).tolist() == [1.0]
    np.testing.assert_allclose(cell_widths(build_library(5.0).diameters), 1.0)
    uneven = np.array([1.0, 2.0, 2.5, 3.0, 5.0])
    assert cell_widths(uneven).argmin() == 2
    assert cell_widths(uneven).mean() == pytest.approx(1.0)


def test_every_pair_is_counted():
    for shape in Shape:
        lead, sulfur = occupancies(6, shape)
        counts = pair_counts(6, shape)
        assert counts[0].sum() == lead.sum() ** 2
        assert counts[1].sum() == lead.sum() * sulfur.sum()
        assert counts[2].sum() == sulfur.sum() ** 2


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(0, 2**32 - 1), st.booleans())
def test_counts_between_any_two_grids_are_exact(side: int, seed: int, diagonal: bool):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 9, (2, side, side, side))
    found = pair_counts_between(a, b, diagonal)
    sites = np.argwhere(np.ones_like(a))
    vectors = (sites[None] - sites[:, None]).reshape(-1, 3)
    products = np.outer(a.ravel(), b.ravel()).ravel()
    m, t = (vectors**2).sum(axis=1), np.abs(vectors.sum(axis=1)) * diagonal
    expected: dict[tuple[int, int], int] = {}
    for key, product in zip(zip(m.tolist(), t.tolist(), strict=True), products, strict=True):
        expected[key] = expected.get(key, 0) + int(product)
    expected = {key: count for key, count in expected.items() if count}
    keys = zip(found.m.tolist(), found.t.tolist(), strict=True)
    assert dict(zip(keys, found.count.tolist(), strict=True)) == expected


def test_counts_that_could_not_be_rounded_are_refused():
    grid = np.full((4, 4, 4), 10**7)
    with pytest.raises(ValueError, match="too many atoms"):
        pair_counts_between(grid, grid)


def test_sines_by_blocks_equal_sines_one_by_one():
    rng = np.random.default_rng(3)
    r, counts = np.sort(rng.uniform(2.0, 180.0, 5000)), rng.normal(size=(3, 5000))
    q = 0.99 + 0.0028 * np.arange(1003)
    direct = counts @ forward.sinc_table(q, r)
    for chunk in (2048, 10_000):
        found = sinc_sum(counts, r, q, chunk)
        assert np.linalg.norm(found - direct) < 1e-12 * np.linalg.norm(direct)
    bent = q + 1e-9 * np.sin(q)  # nearly equidistant is not equidistant
    np.testing.assert_allclose(
        sinc_sum(counts, r, bent), counts @ forward.sinc_table(bent, r), rtol=0, atol=1e-11
    )


def test_lead_and_sulfur_are_in_balance_and_the_volume_is_that_of_the_sphere():
    for shape in Shape:
        for shell in (1, 4, 9):
            lead, sulfur = occupancies(shell, shape)
            assert sulfur.sum() == 8 * lead.sum()
        # shell³ is the number of primitive cells in a sphere of that diameter
        assert occupancies(20, shape)[0].sum() == pytest.approx(20**3, rel=0.03)


def test_neighbours_are_where_rock_salt_has_them():
    library = build_library(5.0)
    assert library.odd[0] == 1.0
    assert library.even[0] == 2.0
    bulk = library.lead_sulfur[-1, 0] / library.lead[-1]
    assert 4.5 < bulk < 6.0  # six in the bulk, fewer at the surface


def test_impossible_libraries_are_refused():
    with pytest.raises(ValueError, match=r"elongation 0\.5 is not within"):
        build_library(3.0, elongation=0.5)
    with pytest.raises(ValueError, match="elongation nan"):
        build_library(3.0, elongation=float("nan"))
    with pytest.raises(ValueError, match="smallest cluster"):
        build_library(0.2)
    with pytest.raises(ValueError, match="numbered from 1"):
        occupancies(0)
