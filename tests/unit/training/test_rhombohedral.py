"""The metric of the elongated lattice."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.rhombohedral import check_elongation, squared_distance, stretched

steps = st.integers(-60, 60)


@given(steps, steps, steps, st.floats(-0.1, 0.1))
def test_integers_give_the_distance_of_the_stretched_vector(x: int, y: int, z: int, e: float):
    vector = np.array([[x, y, z]], dtype=np.float64)
    m, t = np.array([x * x + y * y + z * z]), np.array([abs(x + y + z)])
    exact = (stretched(vector, e) ** 2).sum()
    assert squared_distance(m, t, e)[0] == pytest.approx(exact, rel=1e-12, abs=1e-12)


def test_the_body_diagonal_lengthens_and_the_volume_stays():
    axes = stretched(np.eye(3), 0.007)
    assert np.linalg.norm(axes.sum(axis=0)) / np.sqrt(3.0) == pytest.approx(1.007)
    assert np.linalg.det(axes) == pytest.approx(1.0)
    angles = [axes[0] @ axes[1], axes[1] @ axes[2]]
    assert angles[0] == pytest.approx(angles[1])
    assert angles[0] > 0  # elongated along 111: the axes close up, α < 90°


def test_without_elongation_nothing_changes():
    m, t = np.arange(50), np.arange(50)
    assert squared_distance(m, t, 0.0).tolist() == m.tolist()


@pytest.mark.parametrize("elongation", [0.11, -0.2, float("nan"), float("inf")])
def test_a_distortion_beyond_belief_is_refused(elongation: float):
    with pytest.raises(ValueError, match="is not within"):
        check_elongation(elongation)
