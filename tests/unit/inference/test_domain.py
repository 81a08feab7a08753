"""Verdicts from evidence."""

from dataclasses import replace

import numpy as np
import pytest

from qd_agent.core.pattern import PUBLISHED_GRID
from qd_agent.core.prediction import Verdict
from qd_agent.inference.artifact import Thresholds
from qd_agent.inference.domain import (
    FLAT_TOP,
    Evidence,
    check_data,
    check_step,
    check_window,
    flat_top,
    judge,
)

Q = PUBLISHED_GRID.values()
GOOD = Evidence(
    nothing=0.0, foreign=0.0, significance=50.0, misfit=0.1, diameter=4.0, sd=0.1, fraction=0.5
)


def window(low: float, high: float) -> np.ndarray:
    return ((low <= Q) & (high >= Q)).astype(float)


@pytest.mark.parametrize(("low", "high"), [(0.9, 15.1), (1.45, 5.2), (2.2, 15.0), (0.99, 4.95)])
def test_windows_that_were_taught_are_accepted(low: float, high: float):
    assert check_window(window(low, high)) is None


@pytest.mark.parametrize(("low", "high"), [(0.9, 3.0), (3.0, 15.0), (4.0, 4.2)])
def test_windows_that_cannot_carry_a_size_are_refused(low: float, high: float):
    refusal = check_window(window(low, high))
    assert refusal is not None
    assert refusal.verdict is Verdict.INSUFFICIENT_Q


def test_a_window_with_its_middle_missing_is_refused():
    coverage = window(0.9, 15.0) - window(1.7, 5.5)
    refusal = check_window(coverage)
    assert refusal is not None


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({"nothing": 0.95}, Verdict.NO_NANOCRYSTALS),
        ({"significance": 0.5}, Verdict.NO_NANOCRYSTALS),
        ({"foreign": 0.95}, Verdict.OUT_OF_DOMAIN),
        ({"significance": 0.5, "misfit": 0.6}, Verdict.OUT_OF_DOMAIN),
        ({"misfit": 2.0}, Verdict.OUT_OF_DOMAIN),
        ({"sd": 2.0}, Verdict.OUT_OF_DOMAIN),
        ({"diameter": 11.2, "sd": 0.05}, Verdict.OUT_OF_DOMAIN),
        ({"diameter": 1.1, "sd": 0.05}, Verdict.OUT_OF_DOMAIN),
        ({"sd": 2.0, "fraction": 0.005}, Verdict.NO_NANOCRYSTALS),
    ],
)
def test_each_kind_of_evidence_refuses(change: dict[str, float], verdict: Verdict):
    refusal = judge(replace(GOOD, **change), Thresholds())
    assert refusal is not None
    assert refusal.verdict is verdict
    assert refusal.reason
    assert "\n" not in refusal.reason


@pytest.mark.parametrize(
    ("nothing", "foreign", "verdict"),
    [(0.6, 0.3, Verdict.NO_NANOCRYSTALS), (0.3, 0.6, Verdict.OUT_OF_DOMAIN),
     (0.1, 0.05, Verdict.OUT_OF_DOMAIN)],
)  # fmt: skip
def test_what_is_more_probable_says_why_nothing_is_sized(
    nothing: float, foreign: float, verdict: Verdict
):
    evidence = replace(GOOD, nothing=nothing, foreign=foreign)
    refusal = judge(evidence, Thresholds(nothing=0.25, foreign=0.02))
    assert refusal is not None
    assert refusal.verdict is verdict


def test_good_evidence_is_sized():
    assert judge(GOOD, Thresholds()) is None


@pytest.mark.parametrize(
    ("diameter", "step", "fine"),
    [(11.0, 0.0, True), (10.0, 0.014, True), (5.0, 0.03, True), (8.0, 0.03, False)],
)
def test_a_step_must_leave_points_on_a_peak(diameter: float, step: float, fine: bool):
    refusal = check_step(diameter, step)
    assert (refusal is None) == fine
    assert refusal is None or refusal.verdict is Verdict.INSUFFICIENT_Q


def test_faint_patterns_with_many_zero_counts_are_not_broken():
    rng = np.random.default_rng(0)
    assert check_data(rng.poisson(0.2, Q.size).astype(float), np.ones(Q.size)) is None


def test_dark_and_negative_patterns_are_refused():
    one = np.ones(Q.size)
    dark = check_data(0 * one, one)
    assert dark is not None
    assert dark.verdict is Verdict.BAD_FRAME
    assert check_data(-one, one) is not None
    mostly_negative = np.where(np.arange(Q.size) % 2 == 0, -1.0, 1.5)
    refusal = check_data(mostly_negative, one)
    assert refusal is not None
    assert "negative" in refusal.reason


def peaks(height: float = 1.0) -> np.ndarray:
    return 0.2 + height * np.exp(-0.5 * ((Q - 2.1) / 0.05) ** 2) + 0.3 * np.exp(-Q)


@pytest.mark.parametrize("counts", [100.0, 1e4, 1e6])
def test_noise_on_a_peak_is_no_flat_top(counts: float):
    counted = np.random.default_rng(0).poisson(peaks() * counts)
    assert flat_top(counted.astype(float)) < FLAT_TOP
    assert check_data(counted.astype(float), np.ones_like(Q)) is None


@pytest.mark.parametrize("level", [0.9, 0.5])
def test_a_peak_that_was_cut_off_is_saturated_also_after_a_correction(level: float):
    counted = np.random.default_rng(0).poisson(peaks() * 1e4).astype(float)
    cut = np.minimum(counted, level * counted.max())
    for values in (cut, cut * (1.0 + 0.1 * np.cos(Q / 3.0))):
        refusal = check_data(values, np.ones_like(Q))
        assert refusal is not None
        assert refusal.verdict is Verdict.BAD_FRAME
        assert "saturated" in refusal.reason


def test_a_flat_line_is_flat_and_not_saturated():
    assert check_data(np.full_like(Q, 7.0), np.ones_like(Q)) is None


def test_clean_and_interpolated_patterns_are_not_taken_for_saturated():
    assert flat_top(peaks()) < FLAT_TOP
    coarse = np.arange(0.99, 15.1, 0.03)
    assert flat_top(np.interp(Q, coarse, np.interp(coarse, Q, peaks()))) < FLAT_TOP
