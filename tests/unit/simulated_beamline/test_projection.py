"""From I(Q) to frames, and that pyFAI gets I(Q) back from them."""

import numpy as np
import pyFAI
import pytest

from simulated_beamline.layout import NO_DATA, pilatus_1m, pixels_of, write_calibration
from simulated_beamline.projection import POLARIZATION, Projector, count
from simulated_beamline.sample import DebyeNanocrystals, QAxis


@pytest.fixture(scope="module")
def full():
    """The full detector, once."""
    geometry = pilatus_1m()
    return geometry, pixels_of(geometry, 1), Projector(geometry, QAxis())


def test_pyfai_gets_the_pattern_back(full, tmp_path):
    geometry, pixels, projector = full
    axis = QAxis()
    pattern = DebyeNanocrystals(axis, geometry.wavelength, 8.0).intensity(5.0, 0.1)
    poni, mask = write_calibration(tmp_path, geometry.poni(), pixels.masked)
    q, intensity = pyFAI.load(str(poni)).integrate1d(
        projector.image(pattern),
        5000,
        mask=np.load(mask),
        unit="q_A^-1",
        radial_range=(0.8, 15.0),
        polarization_factor=POLARIZATION,
        method=("no", "histogram", "cython"),
    )
    expected = np.interp(q, axis.values(), pattern)
    assert np.corrcoef(intensity, expected)[0, 1] > 0.9999
    assert intensity.mean() == pytest.approx(expected.mean(), rel=1e-3)


def test_the_detector_covers_the_range_without_holes(full):
    _, pixels, projector = full
    q = projector.q[~pixels.masked]
    per_cell = np.histogram(q, np.arange(0.8, 15.0, 0.0028))[0]
    assert per_cell.min() > 0
    assert np.median(per_cell) > 100
    assert np.abs(np.diff(projector.q, axis=0)).max() < 0.015


def test_counts_scatter_as_poisson_does(stand):
    expected = np.full(stand.geometry.shape, 50.0)
    image = count(expected, stand.pixels, np.random.default_rng(1))
    good = image[~stand.pixels.masked & ~stand.pixels.hot & ~stand.pixels.dead]
    assert good.dtype == np.uint32
    assert good.mean() == pytest.approx(50.0, rel=0.01)
    assert good.var() == pytest.approx(50.0, rel=0.05)


def test_faulty_pixels_carry_what_a_real_detector_writes(stand):
    elsewhere = np.zeros(stand.geometry.shape, dtype=bool)
    elsewhere[-5:] = True
    expected = np.full(stand.geometry.shape, 10.0)
    image = count(expected, stand.pixels, np.random.default_rng(1), no_data=elsewhere)
    assert (image[stand.pixels.gap] == NO_DATA).all()
    assert (image[elsewhere] == NO_DATA).all()
    assert (image[stand.pixels.dead & ~elsewhere] == 0).all()
    assert (image[stand.pixels.hot & ~elsewhere] > 50).all()


def test_a_dark_frame_is_dark(stand):
    image = count(None, stand.pixels, np.random.default_rng(1))
    assert image[~stand.pixels.gap & ~stand.pixels.hot].mean() < 0.1


def test_noise_depends_on_nothing_but_the_seed(stand):
    expected = np.full(stand.geometry.shape, 5.0)
    one, two = (count(expected, stand.pixels, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(one, two)
