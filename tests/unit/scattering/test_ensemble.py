"""Lognormal ensembles over the grid of clusters."""

import numpy as np
import pytest

from qd_agent.scattering.ensemble import (
    DIAMETER_STEP_NM,
    actual_dispersion,
    averages,
    cluster_diameters,
    lognormal_weights,
    mean_for_average,
)

GRID = cluster_diameters(20.0)


def test_the_step_is_the_published_one():
    assert pytest.approx(0.4638, abs=5e-5) == DIAMETER_STEP_NM
    assert cluster_diameters(12.0).size == 25


def test_a_wide_lognormal_keeps_its_mean_and_dispersion_on_the_grid():
    weights = lognormal_weights(GRID, 6.0, 0.15)
    number, volume = averages(GRID, weights)
    assert number == pytest.approx(6.0, abs=1e-3)
    assert actual_dispersion(GRID, weights) == pytest.approx(0.15, abs=1e-3)
    assert volume == pytest.approx(6.0 * (1 + 0.15**2) ** 3, abs=0.01)  # moments of a lognormal


def test_one_row_per_ensemble_sums_to_one():
    weights = lognormal_weights(GRID, np.array([[1.2], [4.0], [11.0]]), np.array([[0.03]] * 3))
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)


@pytest.mark.parametrize(("average", "dispersion"), [(2.0, 0.05), (2.7, 0.1), (9.0, 0.25)])
def test_a_lognormal_is_found_for_an_average(average: float, dispersion: float):
    mean = mean_for_average(GRID, average, dispersion)
    assert averages(GRID, lognormal_weights(GRID, mean, dispersion))[0] == pytest.approx(average)


def test_an_average_beyond_the_grid_is_refused():
    with pytest.raises(ValueError, match="no lognormal"):
        mean_for_average(GRID, 40.0, 0.1)
