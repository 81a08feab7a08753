"""Files with more than one step: each place is read by the steps around it."""

import numpy as np
import pytest

from qd_agent.core.pattern import PUBLISHED_GRID, RawPattern, resample

Q = PUBLISHED_GRID.values()
WIDE_ANGLES = np.arange(0.6, 15.1, 0.0125)


def peaks(q: np.ndarray) -> np.ndarray:
    """Four peaks of a large crystal, one of them below 1.6 1/Å."""
    centres = np.array([1.3, 2.1, 3.0, 5.1])
    return 0.1 + np.exp(-0.5 * ((q[:, None] - centres) / 0.025) ** 2).sum(axis=1)


def read(q: np.ndarray):
    return resample(RawPattern(q, peaks(q)))


def test_finer_small_angles_in_the_same_file_change_nothing():
    alone = read(WIDE_ANGLES)
    merged = read(np.concatenate([np.arange(0.005, 0.6, 0.0005), WIDE_ANGLES]))
    np.testing.assert_array_equal(merged.intensity, alone.intensity)
    assert merged.step == alone.step == pytest.approx(0.0125)


@pytest.mark.parametrize("border", [1.55, 2.05, 4.0])
@pytest.mark.parametrize("step", [0.0139, 0.02])
def test_a_scan_that_begins_finely_is_read_by_splines_where_it_is_coarse(
    border: float, step: float
):
    q = np.concatenate([np.arange(0.9, border, 0.0004), np.arange(border, 15.1, step)])
    pattern = read(q)
    assert pattern.step == pytest.approx(step)
    assert pattern.coverage.all()
    np.testing.assert_allclose(pattern.intensity, peaks(Q), atol=0.02)


def test_a_scan_that_is_coarse_before_the_decisive_reflections_has_no_step_to_tell():
    q = np.concatenate([np.arange(0.9, 1.5, 0.0125), np.arange(1.5, 15.1, 0.0028)])
    pattern = read(q)
    assert pattern.step == 0.0
    np.testing.assert_allclose(pattern.intensity, peaks(Q), atol=0.02)


def test_points_that_are_missing_at_random_make_no_file_coarse():
    for seed in range(20):
        keep = np.random.default_rng(seed).random(Q.size) > 0.4
        assert read(Q[keep]).step == 0.0


def test_the_step_of_equal_angles_is_that_of_the_decisive_reflections():
    q = 4.0 * np.pi * np.sin(np.radians(np.arange(10.0, 120.0, 0.1)) / 2.0) / 1.5406
    in_range = np.diff(q)[(q[1:] > 1.6) & (q[:-1] < 6.0)]
    assert np.median(in_range) <= read(q).step <= in_range.max()


def test_a_stray_point_before_a_file_makes_no_hole_usual():
    pattern = read(np.concatenate([[1.0], np.arange(1.5, 15.1, 0.0125)]))
    assert not pattern.coverage[(Q > 1.02) & (Q < 1.48)].any()
