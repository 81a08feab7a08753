"""Bounded, damped Gauss-Newton (Levenberg-Marquardt) with Gaussian priors.

Each step is a small linear least-squares problem with limits, so that a background that must not be
negative needs no tricks; the triangular factor keeps it small however many points there are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import lsq_linear

Float = npt.NDArray[np.float64]

ROUNDS = 60
ENOUGH = 1e-3
"""A step that lowers the cost (a χ²) by less has nothing more to give."""
MOST_DAMPING = 1e6


@dataclass(frozen=True, slots=True)
class Problem:
    """What is minimised: |residual|² + |precision (x − centre)|² within limits.

    Attributes:
        residual: (data − model)/σ at x, shape (points,).
        jacobian: derivative of model/σ at x, shape (points, n).
        centre, precision: shape (n,); precision 1/sd, 0 for no prior.
        low, high: shape (n,).
        step: shape (n,), the longest single step.
    """

    residual: Callable[[Float], Float]
    jacobian: Callable[[Float], Float]
    centre: Float
    precision: Float
    low: Float
    high: Float
    step: Float

    def prior_cost(self, x: Float) -> float:
        """Part of the cost that the priors make."""
        return float(np.sum((self.precision * (x - self.centre)) ** 2))


@dataclass(frozen=True, slots=True)
class Minimum:
    """Where the search ended: x, cost, JᵀJ of the data alone there, and whether it converged."""

    x: Float
    cost: float
    normal: Float
    rounds: int
    converged: bool


def minimise(problem: Problem, x: Float, rounds: int = ROUNDS) -> Minimum:
    """Search from `x`, which must lie within the limits.

    Converged means: the last full step promised or brought less than `ENOUGH`.
    """
    residual = problem.residual(x)
    cost = float(residual @ residual) + problem.prior_cost(x)
    damping = 1e-3
    for done in range(rounds):
        design = problem.jacobian(x)
        factor: Float = np.asarray(
            np.linalg.qr(np.column_stack([design, residual]), mode="r"), dtype=np.float64
        )
        before = cost
        while damping < MOST_DAMPING:
            step, promised = _step(problem, factor, x, damping)
            tried = np.clip(x + step, problem.low, problem.high)
            new = problem.residual(tried)
            found = float(new @ new) + problem.prior_cost(tried)
            if np.isfinite(found) and found < cost:
                damping = max(damping / 10.0, 1e-9)
                x, residual, cost = tried, new, found
                break
            if promised < ENOUGH:
                break
            damping *= 10.0
        if before - cost < ENOUGH:
            return Minimum(x, cost, design.T @ design, done + 1, damping < MOST_DAMPING)
    design = problem.jacobian(x)
    return Minimum(x, cost, design.T @ design, rounds, converged=False)


def _step(problem: Problem, factor: Float, x: Float, damping: float) -> tuple[Float, float]:
    """Best step within the limits, and by how much the linear model says that it helps."""
    count = x.size
    prior = np.diag(problem.precision)
    wanted = problem.precision * (problem.centre - x)
    design = np.concatenate([factor[:, :count], prior])
    target = np.concatenate([factor[:, count], wanted])
    length = np.linalg.norm(design, axis=0)
    length = np.where(length > 0, length, 1.0)
    scaled = np.concatenate([design / length, np.sqrt(damping) * np.eye(count)])
    low = np.maximum(problem.low - x, -problem.step) * length
    high = np.minimum(problem.high - x, problem.step) * length
    found = lsq_linear(
        scaled,
        np.concatenate([target, np.zeros(count)]),
        bounds=(np.minimum(low, -1e-12), np.maximum(high, 1e-12)),
        method="bvls",
    )
    step = found.x / length
    left = target - design @ step
    return step, float(target @ target - left @ left)
