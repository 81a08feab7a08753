"""Numbers from distributions."""

import numpy as np
import pytest

from qd_agent.inference.distribution import (
    CLASSES_NM,
    class_probabilities,
    moments,
    quantile,
    softmax,
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


def test_classes_sum_to_one_and_share_borders():
    assert sum(class_probabilities(bell(4.3, 0.4)[0], CENTRES)) == pytest.approx(1.0)
    one_bin = (np.abs(CENTRES - 5.5) < 1e-9).astype(float)
    assert CLASSES_NM[np.argmax(class_probabilities(one_bin, CENTRES))] == 5.5
    shared = class_probabilities(np.array([1.0, 0.0]), np.array([4.25, 4.35]))
    assert shared[4] == pytest.approx(0.5)
    assert shared[5] == pytest.approx(0.5)


def test_sizes_beyond_the_classes_go_to_the_outermost():
    tiny = (np.abs(CENTRES - 1.2) < 1e-9).astype(float)
    assert class_probabilities(tiny, CENTRES)[0] == pytest.approx(1.0)
    assert class_probabilities(tiny, CENTRES + 20.0)[-1] == pytest.approx(1.0)


def test_temperature_flattens():
    logits = np.array([[0.0, 2.0]])
    assert softmax(logits, 2.0)[0, 1] < softmax(logits)[0, 1]
    assert softmax(np.array([[1e4, -1e4]])).sum() == pytest.approx(1.0)
