"""What the sample scatters, and that shares of the area are what the truth says."""

import numpy as np
import pytest

from simulated_beamline.sample import AREA_WINDOW, DebyeNanocrystals, QAxis, reacting_sample
from simulated_beamline.synthesis import Kinetics, State, state_at
from training.simulation import NanocrystalSimulator


def window_of(axis):
    q = axis.values()
    return (q >= AREA_WINDOW[0]) & (q <= AREA_WINDOW[1])


def test_the_share_is_the_share_of_the_area(stand):
    inside = window_of(stand.axis)
    solvent = stand.sample.intensity(State("induction", None, None, 0.0, 20.0))
    whole = stand.sample.intensity(State("growth", 5.0, 0.1, 0.3, 20.0))
    pure = stand.sample.intensity(State("growth", 5.0, 0.1, 1.0, 20.0))
    for pattern in (solvent, whole, pure):
        assert pattern[inside].mean() == pytest.approx(1.0)
    np.testing.assert_allclose(whole, 0.3 * pure + 0.7 * solvent)


def test_solvent_has_no_truth_about_a_size(stand):
    truth = stand.sample.truth(state_at(0.0, Kinetics()))
    assert truth["diameter_nm"] is None
    assert truth["diameter_volume_nm"] is None
    assert truth["nanocrystal_fraction"] == 0.0


def test_the_coarser_axis_changes_nothing_that_counts():
    axis = QAxis(start=0.9, size=2000)
    exact = NanocrystalSimulator(axis.values(), max_diameter_nm=8.0).intensity(4.5, 0.12)
    fast = DebyeNanocrystals(axis, 0.1839, 8.0).intensity(4.5, 0.12)
    np.testing.assert_allclose(fast / fast.mean(), exact, rtol=1e-3)


def test_truth_of_a_real_ensemble_is_its_exact_average():
    sample = reacting_sample(QAxis(size=5700), 0.1839, seed=1, plateau_diameter_nm=3.0)
    truth = sample.truth(State("growth", 3.0, 0.12, 0.4, 20.0))
    n = np.arange(1, 21) * 0.46378
    width = np.sqrt(np.log1p(0.12**2))
    weights = np.exp(-0.5 * ((np.log(n / 3.0) + width**2 / 2) / width) ** 2) / n
    assert truth["diameter_nm"] == pytest.approx((weights * n).sum() / weights.sum(), abs=2e-3)
    assert truth["diameter_volume_nm"] > truth["diameter_nm"]
    pattern = sample.intensity(State("growth", 3.0, 0.12, 0.4, 20.0))
    assert np.isfinite(pattern).all()
    assert (pattern > 0).all()
