"""Foreign materials."""

import numpy as np
import pytest

from training.materials import NAMED, PBS_BAND, foreign_bank, named, reflections

Q = np.arange(0.99, 15.0, 0.0112)


def test_reflections_follow_the_rules_of_their_lattice():
    q, planes = reflections("fcc", 4.0)
    assert q[:3] * 4.0 / (2 * np.pi) == pytest.approx(np.sqrt([3, 4, 8]))
    assert planes[:3].tolist() == [8, 6, 12]
    assert reflections("diamond", 5.0)[0][1] * 5 / (2 * np.pi) == pytest.approx(np.sqrt(8))
    assert reflections("bcc", 3.0)[0][0] * 3 / (2 * np.pi) == pytest.approx(np.sqrt(2))


@pytest.mark.parametrize("name", sorted(NAMED))
def test_named_powders_are_positive_and_not_pbs(name: str):
    pattern = named(Q, name, 10.0, np.random.default_rng(0))
    assert (pattern > 0).all()
    lattice, a = NAMED[name]
    assert not (lattice == "fcc" and PBS_BAND[0] < a < PBS_BAND[1])


def test_a_bank_is_seeded_finite_and_of_mean_one():
    bank = foreign_bank(Q, 30, seed=4)
    np.testing.assert_array_equal(bank, foreign_bank(Q, 30, seed=4))
    assert np.isfinite(bank).all()
    np.testing.assert_allclose(bank.mean(axis=1), 1.0, rtol=0.02)
