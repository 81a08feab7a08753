"""The search of one pattern's refinement, from any start, for any assumption of what is missed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from qd_agent.core.errors import BadFrame
from qd_agent.inference.hypotheses import HYPOTHESES, LIQUID_MISSED
from qd_agent.inference.least_squares import inflation
from qd_agent.inference.network import BIN
from qd_agent.inference.refinement_data import Data
from qd_agent.inference.refinement_model import Curves, PatternModel
from qd_agent.inference.refinement_priors import Prior, columns
from qd_agent.inference.refinement_solver import Minimum, Problem, minimise
from qd_agent.inference.weighing import REACH, Banded

Float = npt.NDArray[np.float64]

LEAST_GAIN = 25.0
"""χ² by which nanocrystals must improve on a background alone: five standard deviations."""

MISSED: tuple[float, ...] = tuple(sorted({hypothesis.missed for hypothesis in HYPOTHESES}))
"""What the Debye model may miss, relative to it: the same as in the live fit."""

FIRST_MISSED = 0.01
"""Of the pattern, while it is not known yet what of it is background."""

POINTS_ALIKE = REACH * BIN
"""Points over which what the model misses is alike, as in the live fit."""

WIDTHS = ("broadening", "microstrain")
"""Fitted as variances, stated as standard deviations."""


@dataclass(frozen=True, slots=True)
class Errors:
    """How far points may be off: counting noise, and what the model misses beside it.

    `missed` is the hypothesis, None before there is one.
    """

    banded: Banded
    missed: float | None

    @classmethod
    def at_first(cls, data: Data) -> Errors:
        """Before anything is known of the background."""
        level = [FIRST_MISSED * np.maximum(data.intensity, 0.0)]
        return cls(Banded(np.flatnonzero(data.used), data.sigma, level, POINTS_ALIKE), None)

    @classmethod
    def missing(cls, data: Data, curves: Curves, missed: float) -> Errors:
        """When the model misses a part `missed` of the nanocrystals."""
        levels = [LIQUID_MISSED * np.abs(curves.background), missed * np.abs(curves.nanocrystals)]
        return cls(Banded(np.flatnonzero(data.used), data.sigma, levels, POINTS_ALIKE), missed)


@dataclass(frozen=True, slots=True)
class Found:
    """Where a search ended, under which errors, and minus twice the logarithm of its evidence."""

    minimum: Minimum
    errors: Errors
    evidence: float

    @property
    def x(self) -> Float:
        """The parameters."""
        return self.minimum.x


class Search:
    """One pattern's minimisation, from any start and under any errors."""

    def __init__(self, model: PatternModel, data: Data, priors: Mapping[str, Prior]) -> None:
        self.model, self.data, self._priors = model, data, priors
        below = model.background
        centre, precision, low, high = columns(priors)
        none = np.zeros(len(below.names))
        self._centre = np.concatenate([centre, [0.0], none])
        self.precision = np.concatenate([precision, [0.0], below.precision])
        self._low = np.concatenate([low, [0.0], below.low])
        self._high = np.concatenate([high, [np.inf], np.full(none.size, np.inf)])
        self._step = np.concatenate([_longest(priors), [np.inf], np.full(none.size, np.inf)])

    def problem(self, errors: Errors) -> Problem:
        """Give what is minimised under these errors."""
        whiten = errors.banded.whiten
        return Problem(
            residual=lambda x: whiten(self.data.intensity - self.model.curves(x).total),
            jacobian=lambda x: whiten(self.model.jacobian(x)),
            centre=self._centre,
            precision=self.precision,
            low=self._low,
            high=self._high,
            step=self._step,
        )

    def first(self, diameter_nm: float, dispersion: float) -> Float:
        """Where a search starts: usual values, with scale and background fitted to them."""
        x = self._centre.copy()
        x[self.model.where("mean_nm")] = diameter_nm
        x[self.model.where("dispersion")] = np.clip(dispersion, 0.05, 0.3)
        for name in WIDTHS:
            x[self.model.where(name)] = 0.3 * self._priors[name].sd
        x = np.clip(x, self._low, self._high)
        problem = self.problem(Errors.at_first(self.data))
        still = replace(problem, step=np.where(np.isinf(problem.step), np.inf, 0.0))
        return minimise(still, x, rounds=3).x

    def best(self, x: Float) -> Found:
        """Search from x under every hypothesis of what is missed; give the likeliest."""
        x = minimise(self.problem(Errors.at_first(self.data)), x).x
        found: list[Found] = []
        for missed in MISSED:
            errors = Errors.missing(self.data, self.model.curves(x), missed)
            found.append(self.run(x, errors))
            x = found[-1].x
        likeliest = min(found, key=lambda end: end.evidence)
        # Once more with the errors that this end itself has.
        curves = self.model.curves(likeliest.x)
        return self.run(
            likeliest.x, Errors.missing(self.data, curves, likeliest.errors.missed or 0)
        )

    def run(self, x: Float, errors: Errors) -> Found:
        """Search from x under these errors."""
        end = minimise(self.problem(errors), x)
        held = self.precision > 0
        unit = np.where(held, 1.0 / np.where(held, self.precision, 1.0), 1.0)
        normal = end.normal * np.outer(unit, unit) + np.diag(held.astype(np.float64))
        evidence = end.cost + float(np.linalg.slogdet(normal)[1]) + errors.banded.log_determinant
        return Found(end, errors, evidence)

    def excess(self, found: Found) -> float:
        """By how much residuals exceed these errors, as a factor on variances; 1 or more."""
        return max(1.0, inflation(self.problem(found.errors).residual(found.x)))

    def residual(self, x: Float) -> Float:
        """(data − model)/σ with the pattern's own σ."""
        return (self.data.intensity - self.model.curves(x).total) / self.data.sigma

    def moving(self, x: Float) -> npt.NDArray[np.bool_]:
        """Which parameters are free, shape (n,): not at a limit, or held there by a prior alone.

        A width at 0 may still be more than 0 within its prior; that counts in the errors of the
        size. A piece of background at 0 is taken as known.
        """
        room = 1e-9 * np.maximum(np.abs(x), 1.0)
        return (self.precision > 0) | ((x > self._low + room) & (x < self._high - room))

    def at_limit(self, x: Float) -> tuple[str, ...]:
        """Names of the parameters that ended at a limit, background left out."""
        with np.errstate(invalid="ignore"):
            span = np.where(np.isfinite(self._high), self._high - self._low, np.maximum(x, 1.0))
        ended = (x <= self._low + 1e-6 * span) | (x >= self._high - 1e-6 * span)
        return tuple(
            n
            for n, e in zip(self.model.names, ended, strict=True)
            if e and not n.startswith("background")
        )

    def check(self, best: Found) -> None:
        """Refuse a result that a background alone explains as well.

        Raises:
            BadFrame: it does.
        """
        problem = self.problem(best.errors)
        x = best.x.copy()
        scale = self.model.where("scale")
        x[scale] = 0.0
        alone = replace(problem, high=np.where(np.arange(x.size) == scale, 0.0, problem.high))
        alone = replace(alone, step=np.where(np.isinf(alone.step), np.inf, 0.0))
        gain = (minimise(alone, x, rounds=3).cost - best.minimum.cost) / self.excess(best)
        if not np.isfinite(best.minimum.cost) or gain < LEAST_GAIN:
            raise BadFrame(
                "a smooth background alone explains the pattern as well as nanocrystals do "
                f"(χ² falls by {max(gain, 0.0):.1f} with them, {LEAST_GAIN:.0f} are needed)"
            )


def _longest(priors: Mapping[str, Prior]) -> Float:
    """Give the longest single step of each parameter: two sd, or a tenth of its range."""
    return np.array(
        [
            min(2.0 * p.sd, 0.1 * (p.high - p.low))
            if math.isfinite(p.sd)
            else 0.1 * (p.high - p.low)
            for p in priors.values()
        ]
    )
