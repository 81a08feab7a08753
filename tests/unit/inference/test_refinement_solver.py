"""The search finds bounded minima of problems whose answer is known."""

import numpy as np
import pytest

from qd_agent.inference.refinement_solver import Problem, minimise

X = np.linspace(0.0, 4.0, 200)


def decay(low: float = -9.0, precision: float = 0.0) -> Problem:
    """Data 3 exp(−1.5 x) − 0.5; parameters amplitude, rate, offset."""
    data = 3.0 * np.exp(-1.5 * X) - 0.5

    def residual(p: np.ndarray) -> np.ndarray:
        return data - p[0] * np.exp(-p[1] * X) - p[2]

    def jacobian(p: np.ndarray) -> np.ndarray:
        fall = np.exp(-p[1] * X)
        return np.column_stack([fall, -p[0] * X * fall, np.ones_like(X)])

    return Problem(
        residual,
        jacobian,
        centre=np.array([0.0, 0.2, 0.0]),
        precision=np.array([0.0, precision, 0.0]),
        low=np.array([0.0, 0.0, low]),
        high=np.array([np.inf, 9.0, np.inf]),
        step=np.array([np.inf, 0.5, np.inf]),
    )


def test_an_exact_minimum_is_found_from_afar():
    found = minimise(decay(), np.array([1.0, 0.1, 0.0]))
    assert found.converged
    assert found.x == pytest.approx([3.0, 1.5, -0.5], abs=1e-3)


def test_a_limit_holds():
    found = minimise(decay(low=0.0), np.array([1.0, 0.1, 0.0]))
    assert found.converged
    assert found.x[2] == 0.0


def test_a_strong_prior_wins_over_weak_data():
    found = minimise(decay(precision=1e4), np.array([1.0, 0.2, 0.0]))
    assert found.x[1] == pytest.approx(0.2, abs=0.01)


def test_too_few_rounds_are_no_convergence():
    assert not minimise(decay(), np.array([1.0, 0.1, 0.0]), rounds=1).converged
