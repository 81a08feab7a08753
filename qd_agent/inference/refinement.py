"""The slow, trusted second opinion: the full Debye model, fitted to a pattern point by point.

Started from the network's answer, held by the priors of the network's training, with the covariance
of everything that was fitted. No network here; clusters and liquids come from the artifact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from qd_agent.core.errors import BadFrame
from qd_agent.core.pattern import Pattern
from qd_agent.inference.hypotheses import LEAST_LIQUID, LIQUID_SPREAD
from qd_agent.inference.refinement_background import Background, beside_solvent, liquids
from qd_agent.inference.refinement_data import Data, inflation, select
from qd_agent.inference.refinement_model import NONLINEAR_STEPS, DebyeTable, PatternModel
from qd_agent.inference.refinement_priors import Prior, RefinementPriors
from qd_agent.inference.refinement_result import Measured, Refinement
from qd_agent.inference.refinement_search import WIDTHS, Found, Search
from qd_agent.scattering.ensemble import actual_dispersion, averages, lognormal_weights
from qd_agent.scattering.forward import ClusterLibrary

Float = npt.NDArray[np.float64]

STARTS = (1.0, 0.9, 1.1)
"""Times the first size: the search must not end in a local minimum beside it."""

MOST_ERROR = 0.5
"""A number average with a larger relative error is none."""

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

    @property
    def liquids(self) -> Float:
        """Prior of the background, shape (1251, k)."""
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


class Refiner:
    """Refines patterns; holds the partial sums of every cluster (half a second to make)."""

    def __init__(self, clusters: Clusters, priors: RefinementPriors | None = None) -> None:
        self._table = DebyeTable(
            clusters.library, clusters.form_q, clusters.form_lead, clusters.form_sulfur
        )
        self._liquids = clusters.liquids
        self._priors = priors or RefinementPriors()

    def refine(self, pattern: Pattern, start: Start, options: Options | None = None) -> Refinement:
        """Fit a pattern on its own grid; a second or a few.

        Raises:
            BadFrame: too few points, nothing but background in it, or numbers that are none.
        """
        options = options or Options()
        data = select(pattern, options.solvent)
        priors = self._priors.gaussians(start.diameter_nm, pattern.broadening, free=options.free)
        if options.wavelength is None:
            priors = {**priors, "lead_real": self._priors.contrast()}
        limits = priors["mean_nm"]
        if not limits.low <= start.diameter_nm <= limits.high:
            raise BadFrame(
                f"a start at {start.diameter_nm:g} nm is outside what the model holds, "
                f"{limits.low:.2f} to {limits.high:.1f} nm"
            )
        search = self._search(data, options.wavelength, priors, start)
        sizes = _sizes(start, limits)
        best = search.best(search.first(sizes[0], start.dispersion))
        others = [search.first(size, start.dispersion) for size in sizes[1:]]
        ends = [best, *(search.run(x, best.errors) for x in others)]
        best = min(ends, key=lambda end: end.minimum.cost)
        size = search.model.where("mean_nm")
        agreeing = [bool(abs(end.x[size] - best.x[size]) < AGREE_NM) for end in ends]
        search.check(best)
        result = self._result(search, best, sum(agreeing))
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

    def _search(
        self, data: Data, wavelength: float | None, priors: Mapping[str, Prior], start: Start
    ) -> Search:
        """Give the search, over a background whose prior is as wide as the background is high."""
        mean = float(data.intensity.mean())

        def over(background: Background) -> Search:
            model = PatternModel(self._table, data.q, wavelength, tuple(priors), background)
            return Search(model, data, priors)

        if data.solvent is not None:
            return over(beside_solvent(data.q, data.solvent))
        wide = over(liquids(data.q, self._liquids, LIQUID_SPREAD * mean))
        first = wide.model.curves(wide.first(start.diameter_nm, start.dispersion))
        height = max(float(first.background.mean()), LEAST_LIQUID * mean)
        return over(liquids(data.q, self._liquids, LIQUID_SPREAD * height))

    def _result(self, search: Search, best: Found, agreeing: int) -> Refinement:
        model, data, x = search.model, search.data, best.x
        moving = search.moving(x)
        normal = best.minimum.normal / search.excess(best) + np.diag(search.precision**2)
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
            inflation=inflation(residual, len(free)),
            missed=best.errors.missed or 0.0,
            measured_sigma=data.measured,
            converged=best.minimum.converged,
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


def _sizes(start: Start, limits: Prior) -> list[float]:
    return [min(max(start.diameter_nm * part, limits.low), limits.high) for part in STARTS]


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
