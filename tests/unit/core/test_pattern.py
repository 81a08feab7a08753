"""Resampling and normalization: no invented data, honest noise, no shift."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qd_agent.core.errors import BadFrame
from qd_agent.core.pattern import (
    AREA,
    PUBLISHED_GRID,
    Pattern,
    QGrid,
    RawPattern,
    normalize_area,
    q_from_two_theta,
    resample,
)

Q = PUBLISHED_GRID.values()


def _peak(q: np.ndarray, centre: float, fwhm: float = 0.08) -> np.ndarray:
    return np.exp(-4 * np.log(2) * ((q - centre) / fwhm) ** 2)


def _centroid(pattern: Pattern, centre: float) -> float:
    near = np.abs(Q - centre) < 0.2
    return float(np.average(Q[near], weights=pattern.intensity[near]))


def test_the_grid_is_the_published_one():
    np.testing.assert_allclose(Q, np.arange(0.99, 15.0, 0.0028)[:5004], rtol=0, atol=1e-10)
    assert (Q.size, Q[0]) == (5004, 0.99)
    assert PUBLISHED_GRID.span == pytest.approx(14.0112)


def test_two_theta_becomes_q():
    assert q_from_two_theta(np.array([60.0]), 1.0)[0] == pytest.approx(2 * np.pi)


def test_a_pattern_on_the_grid_comes_back_as_it_was():
    rng = np.random.default_rng(1)
    intensity, sigma = rng.uniform(1, 2, Q.size), rng.uniform(0.1, 0.2, Q.size)
    pattern = resample(RawPattern(np.arange(0.99, 15.0, 0.0028)[:5004], intensity, sigma))
    np.testing.assert_allclose(pattern.intensity, intensity, rtol=1e-9)
    np.testing.assert_allclose(pattern.sigma, sigma, rtol=1e-9)
    assert pattern.coverage.all()
    np.testing.assert_array_equal(pattern.q, Q)


@pytest.mark.parametrize("step", [0.0003, 0.0008, 0.0028, 0.0081, 0.02])
@pytest.mark.parametrize("centre", [1.51, 6.2003, 13.99])
def test_a_peak_keeps_its_place_and_height_whatever_the_source_step(step: float, centre: float):
    q = np.arange(0.5, 15.5, step)
    pattern = resample(RawPattern(q, _peak(q, centre)))
    assert _centroid(pattern, centre) == pytest.approx(centre, abs=1e-4)
    assert 0.99 < pattern.intensity.max() <= 1.0 + 1e-3


@pytest.mark.parametrize("step", [0.005, 0.012, 0.025])
def test_a_coarse_source_makes_no_peak_wider_and_tells_its_step(step: float):
    q = np.arange(0.9, 15.1, step)
    pattern = resample(RawPattern(q, _peak(q, 6.2)))
    near = np.abs(Q - 6.2) < 0.2
    variance = np.average((Q[near] - 6.2) ** 2, weights=np.abs(pattern.intensity[near]))
    assert np.sqrt(8.0 * np.log(2.0) * variance) == pytest.approx(0.08, rel=0.02)
    assert pattern.step == pytest.approx(step)
    assert pattern.broadening == pytest.approx(step / np.sqrt(12.0))
    assert replace(pattern, resolution=0.01).broadening == 0.01


@pytest.mark.parametrize("step", [0.0003, 0.0028])
def test_a_source_as_fine_as_the_grid_has_no_step_to_tell(step: float):
    q = np.arange(0.9, 15.1, step)
    pattern = resample(RawPattern(q, np.ones(q.size)))
    assert (pattern.step, pattern.broadening) == (0.0, 0.0)


def test_one_missing_point_of_a_coarse_source_is_bridged_and_three_are_a_hole():
    q = np.arange(0.9, 15.1, 0.01)
    keep = np.ones(q.size, dtype=bool)
    keep[531] = False
    keep[700:703] = False
    pattern = resample(RawPattern(q[keep], _peak(q[keep], 6.2)))
    assert pattern.intensity.max() > 0.99
    assert pattern.coverage[np.abs(Q - q[531]) < 0.015].all()
    assert not pattern.coverage[np.abs(Q - q[701]) < 0.015].any()


def test_points_that_crowd_do_not_make_a_coarse_source_swing():
    q = np.arange(0.9, 15.1, 0.01)
    values = np.ones(q.size)
    crowded = np.insert(q, 501, q[500] + 0.0029)
    pattern = resample(RawPattern(crowded, np.insert(values, 501, 1.5)))
    assert pattern.intensity.min() > 0.8
    assert pattern.intensity.max() <= 1.5 + 1e-9


@pytest.mark.parametrize("step", [0.006, 0.02])
def test_what_is_cut_off_in_a_coarse_source_stays_level(step: float):
    q = np.arange(0.9, 15.1, step)
    pattern = resample(RawPattern(q, np.minimum(_peak(q, 6.2, 0.2), 0.5)))
    top = np.abs(Q - 6.2) < 0.06
    np.testing.assert_array_equal(pattern.intensity[top], 0.5)
    assert pattern.intensity.max() == 0.5


@given(offset=st.floats(0, 0.0028), step=st.floats(2e-4, 0.008))
@settings(max_examples=40, deadline=None)
def test_no_offset_between_source_and_grid_shifts_a_peak(offset: float, step: float):
    q = np.arange(0.5, 4.0, step) + offset
    pattern = resample(RawPattern(q, _peak(q, 2.1)))
    assert _centroid(pattern, 2.1) == pytest.approx(2.1, abs=1e-4)


def test_a_straight_line_stays_straight_in_lopsided_cells():
    rng = np.random.default_rng(2)
    q = np.sort(rng.uniform(0.9, 15.1, 40_000))
    q = q[np.append(True, np.diff(q) > 0)]
    pattern = resample(RawPattern(q, 3.0 + 2.0 * q))
    np.testing.assert_allclose(pattern.intensity, 3.0 + 2.0 * Q, rtol=0, atol=1e-9)


@pytest.mark.parametrize("finer", [4, 16])
def test_noise_shrinks_with_the_root_of_the_points_averaged_and_sigma_says_so(finer: int):
    rng = np.random.default_rng(3)
    step = PUBLISHED_GRID.step / finer
    q = 0.99 - PUBLISHED_GRID.step / 2 + step * (np.arange(5004 * finer) + 0.5)
    raw = RawPattern(q, 100 + rng.normal(0, 5, q.size), np.full(q.size, 5.0))
    pattern = resample(raw)
    expected = 5.0 / np.sqrt(finer)
    np.testing.assert_allclose(pattern.sigma, expected, rtol=1e-6)
    assert pattern.intensity.std() == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("step", [0.00081, 0.0019, 0.0081])
def test_sigma_is_never_below_the_scatter_and_at_most_root_two_above(step: float):
    rng = np.random.default_rng(4)
    q = np.arange(0.9, 15.1, step)
    pattern = resample(RawPattern(q, rng.normal(0, 1, q.size), np.ones(q.size)))
    chi_square = float(np.mean((pattern.intensity / pattern.sigma) ** 2))
    assert 0.5 <= chi_square <= 1.05


def test_a_source_without_sigma_gives_zero_sigma():
    assert not resample(RawPattern(Q, np.ones(Q.size))).sigma.any()


def test_a_hole_is_not_covered_and_holds_zero():
    q = np.arange(0.9, 15.1, 0.001)
    q = q[(q < 5.0) | (q > 6.0)]
    pattern = resample(RawPattern(q, np.ones(q.size), np.ones(q.size)))
    hole = (Q > 5.002) & (Q < 5.998)
    assert not pattern.coverage[hole].any()
    assert not pattern.intensity[hole].any()
    assert not pattern.sigma[hole].any()
    assert pattern.coverage[~((Q > 4.99) & (Q < 6.01))].all()


def test_a_few_missing_points_are_bridged():
    keep = np.ones(Q.size, dtype=bool)
    keep[1000:1003] = False
    pattern = resample(RawPattern(Q[keep], 2.0 * Q[keep]))
    assert pattern.coverage.all()
    np.testing.assert_allclose(pattern.intensity, 2.0 * Q)


def test_points_that_are_not_finite_are_left_out():
    intensity = np.ones(Q.size)
    intensity[1000:1100] = np.nan
    pattern = resample(RawPattern(Q, intensity))
    assert pattern.coverage.sum() == Q.size - 100
    assert np.isfinite(pattern.intensity).all()


def test_nothing_is_invented_outside_the_source():
    q = np.linspace(2.0, 7.0, 3000)
    pattern = resample(RawPattern(q, np.ones(q.size)))
    assert not pattern.coverage[(Q < 1.99) | (Q > 7.01)].any()
    assert pattern.coverage[(Q > 2.0) & (Q < 7.0)].all()


@pytest.mark.parametrize(
    ("q", "intensity", "sigma", "words"),
    [
        ([], [], None, "fewer than two"),
        ([2.0], [1.0], None, "fewer than two"),
        ([2.0, 2.1], [np.nan, np.nan], None, "fewer than two"),
        ([2.0, 2.0], [1.0, 1.0], None, "strictly increasing"),
        ([2.1, 2.0], [1.0, 1.0], None, "strictly increasing"),
        ([2.0, np.nan], [1.0, 1.0], None, "strictly increasing"),
        ([2.0, np.inf], [1.0, 1.0], None, "strictly increasing"),
        ([-1e308, 1e308], [1.0, 1.0], None, "strictly increasing"),
        ([2.0, 2.1], [1.0], None, "differ in shape"),
        ([2.0, 2.1], [1.0, 1.0], [1.0], "differ in shape"),
        ([[2.0, 2.1]], [[1.0, 1.0]], None, "differ in shape"),
        ([2.0, 2.1], [1e300, 1e300], None, "broken data"),
        ([2.0, 2.1], [1.0, 1.0], [1e300, 1.0], "broken data"),
        ([20.0, 30.0], [1.0, 1.0], None, "none of it on the grid"),
        ([0.1, 0.2], [1.0, 1.0], None, "check the unit and the wavelength"),
    ],
)
def test_what_cannot_be_resampled_is_refused_in_words(
    q: list[float], intensity: list[float], sigma: list[float] | None, words: str
):
    raw = RawPattern(np.array(q), np.array(intensity), None if sigma is None else np.array(sigma))
    with pytest.raises(BadFrame, match=words):
        resample(raw)


@given(
    points=st.lists(
        st.tuples(
            st.floats(allow_nan=False),
            st.floats(allow_nan=True),
            st.floats(min_value=0) | st.just(float("nan")),
        ),
        max_size=40,
        unique_by=lambda point: point[0],
    )
)
@settings(max_examples=200, deadline=None)
def test_any_sorted_numbers_give_a_finite_pattern_or_bad_frame(
    points: list[tuple[float, float, float]],
):
    table = np.array(sorted(points)).reshape(-1, 3)
    try:
        pattern = normalize_area(resample(RawPattern(*table.T)))
    except BadFrame:
        return
    for array in (pattern.intensity, pattern.sigma, pattern.coverage):
        assert array.shape == (PUBLISHED_GRID.size,)
        assert np.isfinite(array).all()
    assert (pattern.sigma >= 0).all()
    assert set(np.unique(pattern.coverage)) <= {0.0, 1.0}
    assert not pattern.intensity[pattern.coverage == 0].any()


def _pattern(intensity: np.ndarray, coverage: np.ndarray | None = None) -> Pattern:
    coverage = np.ones(Q.size) if coverage is None else coverage
    return Pattern(intensity * coverage, 0.1 * intensity * coverage, coverage)


def test_a_full_pattern_gets_the_published_area():
    pattern = normalize_area(_pattern(5.0 + _peak(Q, 2.1)))
    assert pattern.intensity.sum() * PUBLISHED_GRID.step == pytest.approx(AREA)
    np.testing.assert_allclose(pattern.sigma, 0.1 * pattern.intensity)


def test_partial_coverage_is_normalized_over_what_was_measured():
    coverage = (Q < 5.0).astype(float)
    pattern = normalize_area(_pattern(np.full(Q.size, 3.0), coverage))
    assert pattern.intensity[coverage > 0].mean() == pytest.approx(AREA / PUBLISHED_GRID.span)
    assert not pattern.intensity[coverage == 0].any()


@given(scale=st.floats(1e-30, 1e30))
def test_normalization_forgets_the_scale_and_repeating_it_changes_nothing(scale: float):
    shape = 5.0 + _peak(Q, 2.1)
    once = normalize_area(_pattern(scale * shape))
    np.testing.assert_allclose(once.intensity, normalize_area(_pattern(shape)).intensity)
    np.testing.assert_allclose(normalize_area(once).intensity, once.intensity)


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf, 1e308, 5e-324])
def test_a_pattern_without_positive_area_is_refused(value: float):
    with pytest.raises(BadFrame, match="no positive area"):
        normalize_area(Pattern(np.full(Q.size, value), np.zeros(Q.size), np.ones(Q.size)))


def test_a_pattern_that_covers_nothing_is_refused():
    with pytest.raises(BadFrame, match="no positive area"):
        normalize_area(Pattern(np.ones(Q.size), np.zeros(Q.size), np.zeros(Q.size)))


def test_flags_and_grid_travel_through_normalization():
    grid = QGrid(1.0, 0.01, 10)
    pattern = Pattern(np.ones(10), np.ones(10), np.ones(10), grid, ("dark_missing",))
    normalized = normalize_area(pattern)
    assert normalized.flags == ("dark_missing",)
    assert normalized.grid is grid
    assert normalized.intensity[0] == pytest.approx(AREA / 0.1)
