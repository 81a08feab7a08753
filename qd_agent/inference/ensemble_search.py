"""Gauss-Newton for one pattern under one hypothesis, and the evidence for that hypothesis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from qd_agent.inference.binned_debye import Dots
from qd_agent.inference.hypotheses import ENSEMBLE, LIMITS, PRIOR_SD
from qd_agent.inference.least_squares import inflation
from qd_agent.inference.weighing import Weighing

Float = npt.NDArray[np.float64]

ROUNDS, LEAST_GAIN = 10, 0.05
"""Gauss-Newton steps at most; they end when χ² falls by less."""

LEAST_PROMISE = 0.01
"""And a step that would win less by its own account is not tried: a tenth of the uncertainty."""

SHORTER = (1.0, 0.4, 0.1, 0.03)
"""Parts of a step that are tried."""


class Modelling(Protocol):
    """What a search needs of a model."""

    def columns(
        self, dots: Dots, bends: tuple[str, ...], fixed: Mapping[str, Float]
    ) -> tuple[Float, dict[str, Float]]:
        """(plain pattern, its changes with everything that moves, per unit), (1251,) each."""
        ...

    def averages(self, dots: Dots) -> Float:
        """(number average, volume-weighted average), nm."""
        ...


@dataclass(frozen=True, slots=True)
class Point:
    """Where a search stands: plain and columns whitened, their products, and the best factors.

    `whitened` (n, 1 + names): the plain pattern, and its change with a prior's sd of each name.
    """

    dots: Dots
    plain: Float
    names: tuple[str, ...]
    whitened: Float
    products: Float
    amplitude: float
    shifts: Mapping[str, float]
    cost: float


@dataclass(frozen=True, slots=True)
class Asked:
    """What is fitted: the pattern, where the priors are centred, what the wavelength may change."""

    measured: Float
    usual: Dots
    contrast: Mapping[str, Float]


@dataclass(frozen=True, slots=True)
class End:
    """What one hypothesis says: minus twice the log evidence, averages, standard deviations."""

    point: Point
    evidence: float
    averages: Float
    sds: Float
    chi2: float
    """Per bin."""


class Search:
    """Gauss-Newton for one pattern under one hypothesis."""

    def __init__(
        self,
        model: Modelling,
        weighing: Weighing,
        asked: Asked,
        bends: tuple[str, ...],
    ) -> None:
        self._model, self._weighing, self._usual = model, weighing, asked.usual
        self._fixed, self._bends = asked.contrast, bends
        self._target = weighing.whiten(asked.measured)
        self._amplitude = 1.0

    def run(self, start: Dots, rounds: int = ROUNDS) -> Point | None:
        """Search from `start`; None where nanocrystals do not help there."""
        point = self._at(start)
        alone = point.products[0, -1] / max(float(point.products[0, 0]), 1e-30)
        if alone <= 1e-6:
            return None
        self._amplitude = float(alone)
        point = self._solved(point)
        for _ in range(rounds):
            moved = self._step(point)
            if moved is None:
                break
            gained, point = point.cost - moved.cost, moved
            if gained < LEAST_GAIN:
                break
        return point if point.amplitude > 1e-6 else None

    def end(self, point: Point) -> End:
        """Evidence and averages at the optimum, by Laplace's approximation."""
        normal = self._normal(point, list(range(1, 1 + len(point.names))))
        # Shapes in units of their prior at the amplitude that was found.
        scale = np.array([1.0, *([point.amplitude] * len(point.names))])
        prior = np.diag([0.0, *([1.0] * len(point.names))])
        normal = normal * np.outer(scale, scale) + prior
        inverse = np.linalg.inv(normal)
        unit = np.array([PRIOR_SD["size"], PRIOR_SD["dispersion"]])
        spread = inverse[1:3, 1:3] * np.outer(unit, unit)
        here, step = self._model.averages(point.dots), (0.001, 0.0002)
        moved = (
            replace(point.dots, size=point.dots.size + step[0]),
            replace(point.dots, dispersion=point.dots.dispersion + step[1]),
        )
        slopes = np.stack([(self._model.averages(m) - here) / s
                           for m, s in zip(moved, step, strict=True)])  # fmt: skip
        variances = np.einsum("ij,ik,kj->j", slopes, spread, slopes)
        variances *= max(1.0, inflation(self._residual(point)))
        evidence = point.cost + float(np.linalg.slogdet(normal)[1])
        return End(
            point,
            evidence + self._weighing.log_determinant,
            here,
            np.sqrt(np.maximum(variances, 0.0)),
            point.cost / self._target.size,
        )

    def _residual(self, point: Point) -> Float:
        """What is left, in units of the uncertainty; alike in neighbours where noise is."""
        rest = self._rest(point)
        return rest - self._weighing.liquid(self._weighing.background(rest))

    def multiples(self, point: Point) -> Float:
        """Most likely multiples of the liquid's columns there, shape (k,)."""
        return self._weighing.background(self._rest(point))

    def _rest(self, point: Point) -> Float:
        """What is left for the liquid and for noise, in units of the uncertainty."""
        moved = [point.shifts.get(n, 0.0) / PRIOR_SD[n] for n in point.names]
        return self._target - point.amplitude * (point.whitened @ np.array([1.0, *moved]))

    def _at(self, dots: Dots) -> Point:
        plain, columns = self._model.columns(dots, self._bends, self._fixed)
        names = tuple(columns)
        shapes = [PRIOR_SD[n] * columns[n] for n in names]
        whitened = self._weighing.whiten(np.column_stack([plain, *shapes]))
        products = self._weighing.products(np.column_stack([whitened, self._target]))
        return Point(dots, plain, names, whitened, products, 0.0, {}, np.inf)

    def _solved(self, point: Point) -> Point:
        """Best amplitude and factors for the ensemble as it is, and the cost with all priors."""
        linear = [i for i, n in enumerate(point.names, start=1) if n not in ENSEMBLE]
        normal = self._normal(point, linear) + self._prior(len(linear))
        right = point.products[[0, *linear], -1]
        answer = np.linalg.solve(normal, right)
        behind = self._behind(point.dots)
        cost = float(point.products[-1, -1] - right @ answer + (behind**2).sum())
        amplitude = float(answer[0])
        shifts = {
            point.names[i - 1]: float(v / amplitude) * PRIOR_SD[point.names[i - 1]]
            for i, v in zip(linear, answer[1:], strict=True)
        }
        return replace(point, amplitude=amplitude, shifts=shifts, cost=cost)

    def _step(self, point: Point) -> Point | None:
        """Give a better point, or None when no part of the Gauss-Newton step is, or hardly so."""
        every = list(range(1, 1 + len(point.names)))
        normal = self._normal(point, every) + self._prior(len(every))
        right = point.products[[0, *every], -1].copy()
        behind = self._behind(point.dots)
        right[1 : 1 + len(ENSEMBLE)] += behind / self._amplitude
        answer = np.linalg.solve(normal, right)
        promised = float(point.products[-1, -1] - right @ answer + (behind**2).sum())
        if answer[0] <= 1e-9 or point.cost - promised < LEAST_PROMISE:
            return None
        found = answer[1 : 1 + len(ENSEMBLE)] / answer[0]
        shifts: dict[str, float] = dict(zip(ENSEMBLE, found.tolist(), strict=True))
        for part in SHORTER:
            tried = self._solved(self._at(_moved(point.dots, shifts, part)))
            if tried.amplitude > 1e-6 and tried.cost < point.cost:
                return tried
        return None

    def _normal(self, point: Point, chosen: list[int]) -> Float:
        which = [0, *chosen]
        return point.products[np.ix_(which, which)]

    def _prior(self, count: int) -> Float:
        return np.diag([0.0, *([self._amplitude**-2] * count)])

    def _behind(self, dots: Dots) -> Float:
        """How far the priors' centres lie from where the ensemble is, in their sd."""
        return np.array(
            [(getattr(self._usual, n) - getattr(dots, n)) / PRIOR_SD[n] for n in ENSEMBLE]
        )


def _moved(dots: Dots, shifts: Mapping[str, float], part: float) -> Dots:
    """Take a part of a step, two standard deviations at most, and stay within LIMITS."""
    values = asdict(dots)
    for name, shift in shifts.items():
        most = 0.15 * dots.size if name == "size" else 2.0 * PRIOR_SD[name]
        step = float(np.clip(part * shift * PRIOR_SD[name], -most, most))
        values[name] = float(np.clip(values[name] + step, *LIMITS[name]))
    return Dots(**values)
