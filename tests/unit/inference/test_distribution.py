"""Numbers from distributions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qd_agent.inference.distribution import (
    CLASSES_NM,
    as_sure_as_right,
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
    assert sum(class_probabilities(4.3, 0.4)) == pytest.approx(1.0)
    assert CLASSES_NM[np.argmax(class_probabilities(5.5, 0.05))] == 5.5
    shared = class_probabilities(4.25, 0.01)
    assert shared[4] == pytest.approx(0.5, abs=1e-3)
    assert shared[5] == pytest.approx(0.5, abs=1e-3)


def test_classes_are_those_of_students_t_with_three_degrees_of_freedom():
    # P(|t| < 1) of three degrees of freedom: 1/3 + √3/(2π).
    inside = class_probabilities(4.0, 0.25)[4]
    assert inside == pytest.approx(1.0 / 3.0 + np.sqrt(3.0) / (2.0 * np.pi), abs=1e-6)


def test_sizes_beyond_the_classes_go_to_the_outermost():
    assert class_probabilities(1.2, 0.01)[0] == pytest.approx(1.0, abs=1e-3)
    assert class_probabilities(21.2, 0.01)[-1] == pytest.approx(1.0, abs=1e-3)
    assert class_probabilities(4.0, 0.0)[4] == pytest.approx(1.0)


@settings(deadline=None)
@given(st.floats(1.0, 11.0), st.floats(0.01, 3.0), st.floats(0.1, 2.0), st.floats(-1.0, 1.0))
def test_a_confidence_that_holds_changes_no_answer(size, scale, slope, shift):
    said = class_probabilities(size, scale)
    meant = as_sure_as_right(said, slope, shift)
    assert sum(meant) == pytest.approx(1.0)
    assert all(0.0 <= p <= 1.0 for p in meant)
    assert meant[int(np.argmax(said))] == pytest.approx(max(meant))


def test_the_logit_of_the_most_probable_class_is_scaled_and_the_others_keep_their_proportions():
    said = (0.1, 0.3, 0.6)
    meant = as_sure_as_right(said, 0.5, 0.0)
    assert meant[2] == pytest.approx(1.0 / (1.0 + np.sqrt(0.4 / 0.6)))
    assert meant[1] / meant[0] == pytest.approx(3.0)
    assert as_sure_as_right(said, 1.0, 0.0) == pytest.approx(said)
    assert as_sure_as_right((0.0, 1.0), 0.5, 0.0) == (0.0, 1.0)


def test_temperature_flattens():
    logits = np.array([[0.0, 2.0]])
    assert softmax(logits, 2.0)[0, 1] < softmax(logits)[0, 1]
    assert softmax(np.array([[1e4, -1e4]])).sum() == pytest.approx(1.0)
