"""The slow, trusted second opinion: the full Debye model, fitted to a pattern point by point.

Started from the network's answer, held by the priors of the network's training, with the covariance
of everything that was fitted. No network here; clusters come from the compact library.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from qd_agent.core.errors import BadFrame
from qd_agent.core.pattern import Pattern
from qd_agent.inference.refinement_data import Data, inflation, select
from qd_agent.inference.refinement_model import NONLINEAR_STEPS, Curves, DebyeTable, PatternModel
from qd_agent.inference.refinement_priors import Prior, RefinementPriors, columns
from qd_agent.inference.refinement_solver import Minimum, Problem, minimise
from qd_agent.scattering.ensemble import actual_dispersion, averages, lognormal_weights
from qd_agent.scattering.forward import ClusterLibrary

Float = npt.NDArray[np.float64]

STARTS = (1.0, 0.9, 1.1)
"""Times the first size: the search must not end in a local minimum beside it."""

LEAST_GAIN = 25.0
"""χ² (inflated) by which nanocrystals must improve on a background alone: five sd."""

INFLATIONS, SAME_INFLATION = 8, 0.05
"""Rounds of scaling the uncertainties, which end when the variances change by less than this."""

MOST_ERROR = 0.5
"""A number average with a larger relative error is none."""

WIDTHS = ("broadening", "microstrain")
"""Fitted as variances, stated as standard deviations."""

AGREE_NM = 0.02
"""Starts that end so close to the best one have found the same minimum."""


class Clusters(Protocol):
    """What a refinement needs of a model: an `Artifact` has it, and no network is asked."""

    @property
    def library(self) -> ClusterLibrary:
        """Pair multiplicities of every cluster."""
        ...

    @property
    def form_q(self) -> Float:
        """Q of the form factors, 1/Å."""
        ...

    @property
    def form_lead(self) -> Float:
        """f0 of Pb there, electrons."""
        ...

    @property
    def form_sulfur(self) -> Float:
        """f0 of S there, electrons."""
        ...


@dataclass(frozen=True, slots=True)
class Start:
    """Where a refinement starts: number average in nm and relative dispersion."""

    diameter_nm: float
    dispersion: float = 0.15


@dataclass(frozen=True, slots=True)
class Options:
    """How to refine.

    Attributes:
        free: no priors on dispersion and B.
        wavelength: Å, for f' and f''; None leaves f'(Pb) to the fit.
        solvent: a measured solvent, on the pattern's grid, scaled by the fit; or None.
    """

    free: bool = False
    wavelength: float | None = None
    solvent: Pattern | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """A number and its standard error."""

    value: float
    error: float


@dataclass(frozen=True)
class Refinement:
    """What the fit found.

    Standard errors hold for the inflated uncertainties: all of the pattern's are multiplied by
    √`inflation` (see `refinement_data.inflation`) and the fit is repeated until that factor stays,
    so that the priors keep their weight against data whose real errors are that large.

    Attributes:
        number, volume: number average Σ w D / Σ w and volume-weighted average Σ w D⁴ / Σ w D³ over
            the cluster grid, nm; `dispersion` the relative sd over it.
        share: nanocrystals' share of the covered area.
        parameters: every parameter; one that ended at a limit is listed in `held`.
        free: names of the rows and columns of `covariance`.
        covariance: shape (n, n), inflated, in the parameters' units.
        worst_pair: the two most correlated physical parameters, and their correlation.
        rwp, rexp: √(Σ w (y − m)² / Σ w y²) and √((N − P) / Σ w y²), w of the pattern's own σ.
        reduced_chi2: (rwp / rexp)².
        inflation: factor of all variances; 1 or more.
        measured_sigma: σ came with the pattern; else it was estimated as counting noise.
        converged, agreeing, starts: the best search converged; how many of all ended there.
        evaluations: of the Debye model.
        curves, data: on the points that were used.
    """

    number: Measured
    volume: Measured
    dispersion: Measured
    share: float
    parameters: Mapping[str, Measured]
    held: tuple[str, ...]
    free: tuple[str, ...]
    covariance: Float
    worst_pair: tuple[str, str, float]
    rwp: float
    rexp: float
    reduced_chi2: float
    inflation: float
    measured_sigma: bool
    converged: bool
    agreeing: int
    starts: int
    evaluations: int
    curves: Curves
    data: Data

    def record(self) -> dict[str, object]:
        """Give everything as plain numbers, lists and words: what JSON carries."""
        first, second, correlation = self.worst_pair
        values, errors = _pairs(self.parameters)
        return {
            "diameter_nm": self.number.value,
            "diameter_error_nm": self.number.error,
            "diameter_volume_nm": self.volume.value,
            "diameter_volume_error_nm": self.volume.error,
            "dispersion": self.dispersion.value,
            "dispersion_error": self.dispersion.error,
            "nanocrystal_fraction": self.share,
            "parameters": values,
            "errors": errors,
            "at_limit": list(self.held),
            "covariance_of": list(self.free),
            "covariance": self.covariance.tolist(),
            "worst_correlation": {"of": [first, second], "value": correlation},
            "rwp": self.rwp,
            "rexp": self.rexp,
            "reduced_chi2": self.reduced_chi2,
            "error_inflation": math.sqrt(self.inflation),
            "sigma": "measured" if self.measured_sigma else "estimated",
            "converged": self.converged,
            "starts": self.starts,
            "starts_agreeing": self.agreeing,
            "evaluations": self.evaluations,
            "curves": {
                "q": _digits(self.data.q),
                "intensity": _digits(self.data.intensity),
                "sigma": _digits(self.data.sigma),
                "model": _digits(self.curves.total),
                "background": _digits(self.curves.background),
            },
        }


class Refiner:
    """Refines patterns; holds the partial sums of every cluster (half a second to make)."""

    def __init__(self, clusters: Clusters, priors: RefinementPriors | None = None) -> None:
        self._table = DebyeTable(
            clusters.library, clusters.form_q, clusters.form_lead, clusters.form_sulfur
        )
        self._priors = priors or RefinementPriors()

    def refine(self, pattern: Pattern, start: Start, options: Options | None = None) -> Refinement:
        """Fit a pattern on its own grid; a second or a few.

        Raises:
            BadFrame: too few points, nothing but background in it, or numbers that are none.
        """
        options = options or Options()
        data = select(pattern, options.solvent)
        priors = self._priors.gaussians(start.diameter_nm, pattern.resolution, free=options.free)
        if options.wavelength is None:
            priors = {**priors, "lead_real": self._priors.contrast()}
        limits = priors["mean_nm"]
        if not limits.low <= start.diameter_nm <= limits.high:
            raise BadFrame(
                f"a start at {start.diameter_nm:g} nm is outside what the model holds, "
                f"{limits.low:.2f} to {limits.high:.1f} nm"
            )
        model = PatternModel(self._table, data.q, options.wavelength, tuple(priors), data.solvent)
        search = _Search(model, data, priors)
        starts = [search.first(replace(start, diameter_nm=d)) for d in _sizes(start, limits)]
        # From above: while the misfit is large the priors hold, and nothing runs to a limit.
        factor = search.inflation(starts[0])
        ends = [search.run(x, factor) for x in starts]
        best = min(ends, key=lambda end: end.cost)
        for _ in range(INFLATIONS):
            found = search.inflation(best.x)
            if abs(found / factor - 1.0) < SAME_INFLATION:
                break
            factor = found
            best = search.run(best.x, factor)
        ends = [best, *(search.run(end.x, factor) for end in ends)]
        best = min(ends, key=lambda end: end.cost)
        size = model.where("mean_nm")
        agreeing = [bool(abs(end.x[size] - best.x[size]) < AGREE_NM) for end in ends[1:]]
        search.check(best, factor)
        result = self._result(search, best, factor, sum(agreeing))
        if not result.number.error < MOST_ERROR * result.number.value:
            raise BadFrame(
                f"the pattern does not determine a size: the best one is "
                f"{result.number.value:.2f} nm, with a standard error of more than half of it; "
                "count longer, or measure a wider Q range"
            )
        low, high = self._priors.diameter_nm
        if not low <= result.number.value <= high:
            raise BadFrame(
                f"the best fit has {result.number.value:.2f} nm, outside the {low} to {high} nm "
                "that the model is for: its nanocrystals imitate something else"
            )
        return result

    def _result(self, search: _Search, best: Minimum, factor: float, agreeing: int) -> Refinement:
        model, data, x = search.model, search.data, best.x
        moving = search.moving(x)
        precision = search.problem(1.0).precision
        normal = best.normal + np.diag(precision**2)
        covariance = _inverse(normal[np.ix_(moving, moving)])
        errors = np.zeros(x.size)
        errors[moving] = np.sqrt(np.diag(covariance))
        x, errors, covariance = _as_widths(model, x, errors, covariance, moving)
        parameters = {
            name: Measured(float(v), float(e))
            for name, v, e in zip(model.names, x, errors, strict=True)
        }
        free = tuple(n for n, m in zip(model.names, moving, strict=True) if m)
        number, volume, dispersion = self._averages(parameters, free, covariance)
        residual = search.residual(best.x)
        weighted = data.intensity / data.sigma
        degrees = max(residual.size - len(free), 1)
        curves = model.curves(best.x)
        return Refinement(
            number=number,
            volume=volume,
            dispersion=dispersion,
            share=float(curves.nanocrystals.sum() / curves.total.sum()),
            parameters=parameters,
            held=search.at_limit(best.x),
            free=free,
            covariance=covariance,
            worst_pair=_worst_pair(free, covariance),
            rwp=float(np.linalg.norm(residual) / np.linalg.norm(weighted)),
            rexp=float(math.sqrt(degrees) / np.linalg.norm(weighted)),
            reduced_chi2=float(residual @ residual) / degrees,
            inflation=factor,
            measured_sigma=data.measured,
            converged=best.converged,
            agreeing=agreeing,
            starts=len(STARTS),
            evaluations=model.evaluations,
            curves=curves,
            data=data,
        )

    def _averages(
        self, parameters: Mapping[str, Measured], free: Sequence[str], covariance: Float
    ) -> tuple[Measured, Measured, Measured]:
        """Exact sums over the cluster grid; errors from the covariance of mean and dispersion.

        The derivatives are taken over one standard error: where the grid is coarse against a
        narrow distribution, an average is no straight line of the mean.
        """
        names = [n for n in ("mean_nm", "dispersion") if n in free]
        which = [free.index(n) for n in names]
        inner = covariance[np.ix_(which, which)]
        values = {n: parameters[n].value for n in ("mean_nm", "dispersion")}
        centre = self._sums(values)
        slopes = np.empty((3, len(names)))
        for column, name in enumerate(names):
            reach = min(max(parameters[name].error, 1e-5), 0.3 * values[name])
            up = self._sums({**values, name: values[name] + reach})
            down = self._sums({**values, name: values[name] - reach})
            slopes[:, column] = (up - down) / (2.0 * reach)
        spread = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", slopes, inner, slopes), 0.0))
        first, second, third = (
            Measured(float(v), float(e)) for v, e in zip(centre, spread, strict=True)
        )
        return first, second, third

    def _sums(self, values: Mapping[str, float]) -> Float:
        diameters = self._table.diameters
        weights = lognormal_weights(diameters, values["mean_nm"], values["dispersion"])
        return np.array([*averages(diameters, weights), actual_dispersion(diameters, weights)])


class _Search:
    """One pattern's minimisation, from any start and with any inflation."""

    def __init__(self, model: PatternModel, data: Data, priors: Mapping[str, Prior]) -> None:
        self.model, self.data, self._priors = model, data, priors
        count = len(model.linear)
        centre, precision, low, high = columns(priors)
        self._centre = np.concatenate([centre, np.zeros(count)])
        self._precision = np.concatenate([precision, np.zeros(count)])
        self._low = np.concatenate([low, np.zeros(count)])
        self._high = np.concatenate([high, np.full(count, np.inf)])
        self._step = np.concatenate([_longest(priors), np.full(count, np.inf)])

    def problem(self, factor: float) -> Problem:
        """Give the problem with all variances multiplied by `factor`."""
        widened = 1.0 / (self.data.sigma * math.sqrt(factor))
        return Problem(
            residual=lambda x: (self.data.intensity - self.model.curves(x).total) * widened,
            jacobian=lambda x: self.model.jacobian(x) * widened[:, None],
            centre=self._centre,
            precision=self._precision,
            low=self._low,
            high=self._high,
            step=self._step,
        )

    def first(self, start: Start) -> Float:
        """Where a search starts: usual values, with scale and background fitted to them."""
        x = self._centre.copy()
        x[self.model.where("mean_nm")] = start.diameter_nm
        x[self.model.where("dispersion")] = np.clip(start.dispersion, 0.05, 0.3)
        for name in WIDTHS:
            x[self.model.where(name)] = 0.3 * self._priors[name].sd
        x = np.clip(x, self._low, self._high)
        problem = self.problem(1.0)
        still = replace(problem, step=np.where(np.isinf(problem.step), np.inf, 0.0))
        return minimise(still, x, rounds=3).x

    def run(self, x: Float, factor: float) -> Minimum:
        """Search from `x` with all variances multiplied by `factor`."""
        return minimise(self.problem(factor), x)

    def inflation(self, x: Float) -> float:
        """By how much the variances are too small at x; see `refinement_data.inflation`."""
        return inflation(self.residual(x), int(self.moving(x).sum()))

    def residual(self, x: Float) -> Float:
        """(data − model)/σ with the pattern's own σ."""
        return self.problem(1.0).residual(x)

    def moving(self, x: Float) -> npt.NDArray[np.bool_]:
        """Which parameters are free, shape (n,): not at a limit, or held there by a prior alone.

        A width at 0 may still be more than 0 within its prior; that counts in the errors of the
        size. A piece of background at 0 is taken as known.
        """
        room = 1e-9 * np.maximum(np.abs(x), 1.0)
        return (self._precision > 0) | ((x > self._low + room) & (x < self._high - room))

    def at_limit(self, x: Float) -> tuple[str, ...]:
        """Names of the parameters that ended at a limit, background left out."""
        span = np.where(np.isfinite(self._high), self._high - self._low, np.maximum(x, 1.0))
        ended = (x <= self._low + 1e-6 * span) | (x >= self._high - 1e-6 * span)
        return tuple(
            n
            for n, e in zip(self.model.names, ended, strict=True)
            if e and not n.startswith("background")
        )

    def check(self, best: Minimum, factor: float) -> None:
        """Refuse a result that a background alone explains as well.

        Raises:
            BadFrame: it does.
        """
        problem = self.problem(factor)
        x = best.x.copy()
        scale = self.model.where("scale")
        x[scale] = 0.0
        alone = replace(problem, high=np.where(np.arange(x.size) == scale, 0.0, problem.high))
        alone = replace(alone, step=np.where(np.isinf(alone.step), np.inf, 0.0))
        gain = minimise(alone, x, rounds=3).cost - best.cost
        if not np.isfinite(best.cost) or gain < LEAST_GAIN:
            raise BadFrame(
                "a smooth background alone explains the pattern as well as nanocrystals do "
                f"(χ² falls by {max(gain, 0.0):.1f} with them, {LEAST_GAIN:.0f} are needed)"
            )


def _as_widths(
    model: PatternModel, x: Float, errors: Float, covariance: Float, moving: npt.NDArray[np.bool_]
) -> tuple[Float, Float, Float]:
    """Turn the two variances of the fit into standard deviations, which people know.

    The error of a width is how far it goes when its variance grows by one standard error.
    """
    x, errors, factors = x.copy(), errors.copy(), np.ones(x.size)
    for name in WIDTHS:
        at = model.where(name)
        width = math.sqrt(max(x[at], 0.0))
        error = math.sqrt(max(x[at], 0.0) + errors[at]) - width
        factors[at] = error / errors[at] if errors[at] > 0 else 1.0
        x[at], errors[at] = width, error
    scale = factors[moving]
    return x, errors, covariance * np.outer(scale, scale)


def _pairs(parameters: Mapping[str, Measured]) -> tuple[dict[str, float], dict[str, float]]:
    return (
        {name: found.value for name, found in parameters.items()},
        {name: found.error for name, found in parameters.items()},
    )


def _digits(values: Float) -> list[float]:
    """Six significant digits are more than a pattern has."""
    return [float(f"{v:.6g}") for v in values]


def _sizes(start: Start, limits: Prior) -> list[float]:
    return [min(max(start.diameter_nm * part, limits.low), limits.high) for part in STARTS]


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


def _inverse(normal: Float) -> Float:
    """Invert after scaling to unit diagonal; directions without information get none."""
    length = np.sqrt(np.maximum(np.diag(normal), 1e-300))
    return np.linalg.pinv(normal / np.outer(length, length), hermitian=True) / np.outer(
        length, length
    )


def _worst_pair(free: Sequence[str], covariance: Float) -> tuple[str, str, float]:
    """Find the most correlated two of the physical parameters (no factors, no background)."""
    which = [i for i, n in enumerate(free) if n in NONLINEAR_STEPS or n == "scale"]
    inner = covariance[np.ix_(which, which)]
    sd = np.sqrt(np.maximum(np.diag(inner), 1e-300))
    correlation = np.triu(inner / np.outer(sd, sd), 1)
    at = np.unravel_index(int(np.argmax(np.abs(correlation))), correlation.shape)
    row, column = int(at[0]), int(at[1])
    return free[which[row]], free[which[column]], float(correlation[row, column])
