"""The simulator that the simulated beamline uses."""

import numpy as np
import pytest

from training.background import liquid_background
from training.simulation import NanocrystalSimulator

Q = np.arange(0.8, 8.0, 0.02)


@pytest.fixture(scope="module")
def simulator() -> NanocrystalSimulator:
    return NanocrystalSimulator(Q, wavelength=0.1839, max_diameter_nm=9.0)


def test_a_pattern_is_positive_with_mean_one(simulator: NanocrystalSimulator):
    pattern = simulator.intensity(4.0, 0.1)
    assert pattern.shape == Q.shape
    assert (pattern > 0).all()
    assert pattern.mean() == pytest.approx(1.0)


def test_the_strongest_peaks_are_those_of_rock_salt(simulator: NanocrystalSimulator):
    pattern = simulator.intensity(7.0, 0.08)
    peak = Q[np.argmax(np.where(Q > 1.5, pattern, 0.0))]
    bragg = 2 * np.pi / 5.934 * np.sqrt([3, 4])
    assert np.abs(peak - bragg).min() < 0.02


def test_peaks_sharpen_with_size_and_move_with_the_lattice(simulator: NanocrystalSimulator):
    small, large = simulator.intensity(2.5, 0.1), simulator.intensity(7.0, 0.1)
    assert large.max() > 1.5 * small.max()
    stretched = simulator.intensity(7.0, 0.1, lattice_scale=1.02)
    window = (Q > 3.2) & (Q < 3.9)
    assert Q[window][stretched[window].argmax()] < Q[window][large[window].argmax()]


def test_averages_are_those_of_the_cluster_grid(simulator: NanocrystalSimulator):
    number, volume = simulator.averages(4.0, 0.15)
    assert number == pytest.approx(4.0, abs=0.01)
    assert volume > number


def test_a_bad_grid_is_refused():
    with pytest.raises(ValueError, match="increasing"):
        NanocrystalSimulator(Q[::-1])
    with pytest.raises(ValueError, match="positive"):
        NanocrystalSimulator(np.array([0.0, 1.0]))


def test_backgrounds_are_positive_random_and_seeded():
    rng = np.random.default_rng(1)
    first, second = liquid_background(Q, rng), liquid_background(Q, rng)
    assert first.min() > 0
    assert first.mean() == pytest.approx(1.0)
    assert not np.allclose(first, second)
    np.testing.assert_array_equal(first, liquid_background(Q, np.random.default_rng(1)))
    assert 1.0 < Q[first.argmax()] < 2.2
