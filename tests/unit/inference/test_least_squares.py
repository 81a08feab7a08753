"""The solver behind the explanation."""

import numpy as np
import pytest

from qd_agent.core.pattern import RawPattern, resample
from qd_agent.inference.binned_debye import BINNED_Q
from qd_agent.inference.least_squares import (
    Data,
    alike_points,
    inflation,
    level_of,
    noise,
    noise_unit,
    significance,
    solve,
    spline_basis,
)
from qd_agent.inference.network import bin_patterns


def data_for(pattern: np.ndarray) -> Data:
    error = np.full_like(pattern, 0.01)
    use = np.ones(pattern.size, dtype=bool)
    tolerance = np.ones_like(pattern)
    return Data(use, error, tolerance, pattern / error, spline_basis(BINNED_Q) / error[:, None])


def test_amplitude_shift_and_background_are_recovered():
    debye = 1.0 + np.sin(20.0 * BINNED_Q)
    shape = np.cos(20.0 * BINNED_Q)
    background = spline_basis(BINNED_Q).sum(axis=1)
    pattern = 0.7 * (debye + 0.2 * 0.3 * shape) + 0.4 * background
    found = solve(data_for(pattern), debye, {"tilt": shape}, {}, usual=0.7)
    assert found.amplitude == pytest.approx(0.7, rel=0.02)
    # "tilt" has a prior sd of 0.3, so the shift is counted in units of that.
    assert found.shifts["tilt"] == pytest.approx(0.2, abs=0.03)


def test_shifts_may_be_negative_and_backgrounds_may_not():
    debye = 1.0 + np.sin(20.0 * BINNED_Q)
    shape = np.cos(20.0 * BINNED_Q)
    found = solve(data_for(debye - 0.1 * shape), debye, {"tilt": shape}, {}, usual=1.0)
    assert found.shifts["tilt"] < -0.2
    below = solve(data_for(debye - 0.5), debye, {}, {}, usual=1.0)
    assert (below.background >= 0).all()


def test_noise_is_read_off_the_pattern():
    rng = np.random.default_rng(0)
    counts = 400.0
    pattern = rng.poisson(np.full(1251, counts)) / counts
    expected = np.hypot(1 / np.sqrt(counts), 0.01)
    assert np.median(noise(pattern, 0.01)) == pytest.approx(expected, rel=0.1)
    assert noise_unit(pattern) == pytest.approx(0.05, rel=0.1)
    assert Data.of(7.0 * pattern, np.ones(1251), spline_basis(BINNED_Q)).noise == pytest.approx(
        0.05, rel=0.1
    )


@pytest.mark.parametrize("step", [0.0028, 0.0112, 0.014, 0.02, 0.03, 0.05])
def test_what_a_coarse_source_repeats_is_not_taken_for_certainty(step: float):
    q, counts = np.arange(0.95, 15.05, step), 2000.0
    expected = np.sqrt(step / (0.0112 * counts))  # of independent bins that say as much
    found: list[float] = []
    for seed in range(4):
        read = resample(RawPattern(q, np.random.default_rng(seed).poisson(counts, q.size) / counts))
        binned, _ = bin_patterns(read.intensity[None], read.coverage[None])
        found.append(noise_unit(binned[0].astype(np.float64), alike_points(read.step)))
    assert np.mean(found) == pytest.approx(expected, rel=0.3)


def test_a_source_as_fine_as_the_bins_repeats_nothing():
    assert [alike_points(step) for step in (0.0, 0.0028, 0.0112, 0.0125, 0.05)] == [1, 1, 1, 2, 5]


def test_noise_of_independent_bins_is_that_of_second_differences_to_the_last_digit():
    pattern = np.random.default_rng(3).poisson(400.0, 1251) / 400.0
    second = np.diff(pattern, 2) / np.sqrt(6.0 * level_of(pattern)[1:-1])
    assert noise_unit(pattern) == float(np.median(np.abs(second)) / 0.6745)


def test_an_instrument_broadens_and_never_sharpens():
    debye, shape = 1.0 + np.sin(20.0 * BINNED_Q), np.cos(20.0 * BINNED_Q)
    sharp = data_for(debye - 1e-5 * shape)
    assert solve(sharp, debye, {"broadening": shape}, {}, usual=1.0).shifts["broadening"] == 0.0
    broad = data_for(debye + 1e-4 * shape)
    assert solve(broad, debye, {"broadening": shape}, {}, usual=1.0).shifts["broadening"] > 0.0


def test_white_residuals_leave_a_variance_and_structured_ones_raise_it():
    rng = np.random.default_rng(1)
    white = rng.standard_normal(1251)
    assert inflation(white) == pytest.approx(1.0, abs=0.2)
    assert inflation(white + 2.0 * np.sin(np.arange(1251) / 20.0)) > 10.0


def test_splines_cover_the_grid_evenly():
    basis = spline_basis(BINNED_Q)
    assert (basis >= 0).all()
    np.testing.assert_allclose(basis.sum(axis=1), 1.0, atol=1e-9)


def test_nanocrystals_too_faint_to_be_told_from_rounding_are_not_significant():
    rng = np.random.default_rng(0)
    background = np.ones(200)
    faint = 1e-12 * np.sin(np.linspace(0.0, 20.0, 200))
    design = np.stack([faint, background], axis=1)
    assert significance(design, np.array([5.0, 1.0]), 0.01 * rng.standard_normal(200)) == 0.0
    clear = np.stack([1e12 * faint, background], axis=1)
    assert significance(clear, np.array([5.0, 1.0]), 0.01 * rng.standard_normal(200)) > 3.0
