"""Banded and low-rank uncertainties against the same thing written out."""

import numpy as np
import pytest

from qd_agent.inference.weighing import REACH, Weighing

BINS = 60


@pytest.fixture
def parts():
    rng = np.random.default_rng(0)
    use = np.ones(BINS, dtype=bool)
    use[20:31] = False  # a gap: bins on either side are further apart than neighbours
    count = int(use.sum())
    noise, missing = rng.uniform(0.5, 1.5, count), rng.uniform(0.0, 1.0, count)
    liquids = rng.normal(size=(BINS, 3))
    return use, noise, missing, liquids


def dense(use, noise, missing, liquids) -> np.ndarray:
    where = np.flatnonzero(use)
    d = np.abs(where[:, None] - where[None]) / (REACH + 1.0)
    alike = np.maximum(1 - d, 0.0) ** 4 * (4 * d + 1)
    rest = liquids[use]
    return np.diag(noise**2) + np.outer(missing, missing) * alike + rest @ rest.T


def test_products_are_those_with_the_inverse_covariance(parts):
    use, noise, missing, liquids = parts
    columns = np.random.default_rng(1).normal(size=(BINS, 4))
    weighing = Weighing(use, noise, [missing], liquids)
    found = weighing.products(weighing.whiten(columns))
    expected = columns[use].T @ np.linalg.solve(dense(*parts), columns[use])
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


def test_the_determinant_is_that_of_the_covariance(parts):
    use, noise, missing, liquids = parts
    weighing = Weighing(use, noise, [missing], liquids)
    assert weighing.log_determinant == pytest.approx(np.linalg.slogdet(dense(*parts))[1])


def test_a_background_is_found_in_what_is_left(parts):
    use, noise, missing, liquids = parts
    weighing = Weighing(use, 1e-3 * noise, [0.0 * missing], liquids)
    wanted = np.array([1.0, -2.0, 0.5])
    found = weighing.background(weighing.whiten(liquids @ wanted))
    np.testing.assert_allclose(found, wanted, rtol=1e-4)
    np.testing.assert_allclose(
        weighing.liquid(found), weighing.whiten(liquids @ found), rtol=1e-10, atol=1e-9
    )


@pytest.mark.parametrize("kept", [1, REACH, REACH + 1, REACH + 2])
def test_few_bins_are_enough(parts, kept: int):
    _, _, _, liquids = parts
    use = np.arange(BINS) < kept
    weighing = Weighing(use, np.ones(kept), [np.ones(kept)], liquids)
    assert np.isfinite(weighing.log_determinant)
