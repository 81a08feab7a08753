"""The lattice engine against the Debye equation, atom by atom."""

import numpy as np
import pytest

from qd_agent.scattering.ensemble import LATTICE_PARAMETER
from qd_agent.scattering.forward import partial_sums
from training.debye import build_library, pair_counts
from training.nanocrystal import atoms, occupancies


def brute_force(shell: int, q: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    position, lead, sulfur = atoms(shell)
    r = 0.5 * LATTICE_PARAMETER * np.linalg.norm(position[:, None] - position[None, :], axis=-1)
    wave = np.sinc(q[:, None, None] * r / np.pi)
    off = 1.0 - np.eye(len(r))
    weights = (np.outer(lead, lead) * off, np.outer(lead, sulfur) / 8.0,
               np.outer(sulfur, sulfur) / 64.0 * off)  # fmt: skip
    return tuple((wave * weight).sum(axis=(1, 2)) for weight in weights)  # type: ignore[return-value]


@pytest.mark.parametrize("shell", [1, 2, 3, 5])
def test_partial_sums_equal_the_sum_over_all_pairs(shell: int):
    q = np.linspace(0.5, 15.0, 40)
    library = build_library(0.4638 * 5 + 0.1)
    sums = partial_sums(library, q)
    expected = brute_force(shell, q)
    found = (sums.lead_lead, sums.lead_sulfur, sums.sulfur_sulfur)
    for rows, reference in zip(found, expected, strict=True):
        scale = max(1.0, np.abs(reference).max())
        np.testing.assert_allclose(rows[shell - 1] / scale, reference / scale, atol=1e-10)


def test_every_pair_is_counted():
    lead, sulfur = occupancies(6)
    counts = pair_counts(6)
    assert counts[0].sum() == lead.sum() ** 2
    assert counts[1].sum() == lead.sum() * sulfur.sum()
    assert counts[2].sum() == sulfur.sum() ** 2


def test_lead_and_sulfur_are_in_balance_and_the_volume_is_that_of_the_sphere():
    for shell in (1, 4, 9):
        lead, sulfur = occupancies(shell)
        assert sulfur.sum() == 8 * lead.sum()
    # shell³ is the number of primitive cells in a sphere of that diameter
    assert occupancies(20)[0].sum() == pytest.approx(20**3, rel=0.02)


def test_neighbours_are_where_rock_salt_has_them():
    library = build_library(5.0)
    assert library.odd[0] == 1.0
    assert library.even[0] == 2.0
    bulk = library.lead_sulfur[-1, 0] / library.lead[-1]
    assert 4.5 < bulk < 6.0  # six in the bulk, fewer at the surface
