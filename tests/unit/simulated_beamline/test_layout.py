"""The detector in the hutch: gaps, faults, PONI and mask."""

import numpy as np
import pytest
from pyFAI.detectors import detector_factory
from pyFAI.io.ponifile import PoniFile

from simulated_beamline.errors import BeamlineError
from simulated_beamline.layout import Geometry, gaps, pilatus_1m, pixels_of, write_calibration


def test_the_gaps_are_those_of_a_pilatus_1m():
    np.testing.assert_array_equal(gaps(pilatus_1m()), detector_factory("Pilatus1M").mask != 0)


@pytest.mark.parametrize("binning", [1, 2, 4])
def test_pyfai_reads_the_poni_that_is_written(tmp_path, binning):
    geometry = pilatus_1m(binning)
    poni, mask = write_calibration(tmp_path, geometry.poni(), gaps(geometry))
    read = PoniFile(str(poni))
    assert read.API_VERSION == 2.1
    assert tuple(read.detector.shape) == geometry.shape
    assert read.detector.orientation == 3
    assert read.detector.pixel1 == read.detector.pixel2 == geometry.pixel_m
    assert (read.dist, read.poni1, read.poni2) == (0.400, geometry.poni1_m, geometry.poni2_m)
    assert read.wavelength == pytest.approx(0.1839e-10)
    assert np.load(mask).shape == geometry.shape


def test_the_mask_covers_gaps_beam_stop_and_most_bad_pixels():
    pixels = pixels_of(pilatus_1m(), seed=3)
    bad = pixels.dead | pixels.hot
    assert pixels.masked[pixels.gap].all()
    assert pixels.masked[pixels.transmission < 1.0].all()
    assert 50 < bad.sum() < 1000
    assert 0.8 < pixels.masked[bad].mean() < 1.0
    assert (pixels.dark_rate[pixels.hot] >= 100.0).all()
    assert pixels.dark_rate[~pixels.hot].max() < 1.0


def test_the_same_seed_gives_the_same_faults():
    one, two, other = (pixels_of(pilatus_1m(4), seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.dead, two.dead)
    assert (one.dark_rate != other.dark_rate).any()


def test_a_binning_that_does_not_exist_is_named():
    with pytest.raises(BeamlineError, match="binning 3"):
        pilatus_1m(3)


def test_the_default_frame_is_a_pilatus_1m():
    assert Geometry().shape == (1043, 981)
