"""Numbers from distributions."""

import numpy as np
import pytest

from qd_agent.inference.distribution import (
    CLASSES_NM,
    class_probabilities,
    interval,
    moments,
    quantile,
    softmax,
    with_systematic,
)

CENTRES = 1.0 + 0.1 * np.arange(106)


def bell(mean: float, sd: float) -> np.ndarray:
    weights = np.exp(-0.5 * ((CENTRES - mean) / sd) ** 2)
    return (weights / weights.sum())[None]


def test_moments_and_quantiles_are_those_of_a_normal():
    mean, sd = moments(bell(4.3, 0.4), CENTRES)
    assert mean[0] == pytest.approx(4.3, abs=1e-3)
    assert sd[0] == pytest.approx(0.4, abs=1e-3)
    assert quantile(bell(4.3, 0.4), CENTRES, 0.95)[0] == pytest.approx(4.3 + 1.645 * 0.4, abs=0.01)


def test_an_interval_widens_and_never_turns_inside_out():
    low, high = interval(bell(4.0, 0.2), CENTRES, widen=1.0)
    assert high[0] - low[0] == pytest.approx(2 * (1.645 + 1.0) * 0.2, abs=0.02)
    low, high = interval(bell(4.0, 0.2), CENTRES, widen=-50.0)
    assert low[0] <= high[0]


def test_classes_sum_to_one_and_share_borders():
    assert class_probabilities(bell(4.3, 0.4), CENTRES).sum() == pytest.approx(1.0)
    one_bin = (np.abs(CENTRES - 5.5) < 1e-9).astype(float)[None]
    assert CLASSES_NM[class_probabilities(one_bin, CENTRES)[0].argmax()] == 5.5
    border = np.array([[1.0]])
    shared = class_probabilities(border, np.array([4.25]))[0]
    assert shared[CLASSES_NM == 4.0] == pytest.approx(0.5)
    assert shared[CLASSES_NM == 4.5] == pytest.approx(0.5)


def test_sizes_beyond_the_classes_go_to_the_outermost():
    tiny = (np.abs(CENTRES - 1.2) < 1e-9).astype(float)[None]
    assert class_probabilities(tiny, CENTRES)[0, 0] == pytest.approx(1.0)


def test_temperature_flattens():
    logits = np.array([[0.0, 2.0]])
    assert softmax(logits, 2.0)[0, 1] < softmax(logits)[0, 1]
    assert softmax(np.array([[1e4, -1e4]])).sum() == pytest.approx(1.0)


def test_the_systematic_part_adds_in_quadrature_and_never_narrows():
    sd, (low, high) = with_systematic(5.0, 0.4, (4.5, 5.7), relative=0.06)
    assert sd == pytest.approx(0.5)
    assert low == pytest.approx(5.0 - np.hypot(0.5, 1.6449 * 0.3))
    assert high == pytest.approx(5.0 + np.hypot(0.7, 1.6449 * 0.3))
    sd, limits = with_systematic(5.0, 0.4, (4.5, 5.7), relative=0.0)
    assert (sd, *limits) == pytest.approx((0.4, 4.5, 5.7))
