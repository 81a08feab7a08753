"""The Debye pattern that explains a measured one, by linear least squares; no network here.

For the size and dispersion that the network gave, nanocrystals plus a smooth background are fitted:
lattice scale, dispersion, Debye-Waller factors and broadening move a little from their usual values
(each held by a prior), the background is a nonnegative spline whose pieces are wider than a peak
of nanocrystals. What remains, and how much of the pattern the nanocrystals are needed for, tells
whether the answer is believable. It works on the network's bins of 0.0112 1/Å.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline

from qd_agent.core.pattern import PUBLISHED_GRID
from qd_agent.inference.least_squares import (
    PRIOR_SD,
    Data,
    misfit,
    noise,
    significance,
    solve,
    spline_basis,
)
from qd_agent.inference.network import BIN, POINTS
from qd_agent.scattering.ensemble import lognormal_weights
from qd_agent.scattering.form_factors import FormFactors
from qd_agent.scattering.forward import (
    ClusterLibrary,
    PartialSums,
    intensity,
    partial_sums,
)
from qd_agent.scattering.reflections import PRINCIPAL, family_gains

Float = npt.NDArray[np.float64]

BINNED_Q: Float = PUBLISHED_GRID.values().reshape(POINTS, BIN).mean(axis=1)

FINE_STEP = 0.0056
"""Table spacing, 1/Å: a cubic through it is exact to 1e-5 at 20 nm distances."""

LEAD_ANOMALOUS, SULFUR_ANOMALOUS = -1.4 + 7.0j, 0.1 + 0.1j
"""f' + i f'' at 0.56 Å, amid the usual wavelengths (Chantler). The pattern does not say which it
was; the difference varies slowly with Q and goes into the smooth factors of the fit."""

ROUNDS = 4
"""Gauss-Newton steps at most; they end when the residual falls by less than 1 %."""


@dataclass(frozen=True, slots=True)
class Fit:
    """What the fit found.

    Attributes:
        model, background: shape (1251,), in the unit of the given pattern.
        significance: amplitude of the nanocrystals over its uncertainty.
        misfit: structured residual over the ripple of the Debye part; see `least_squares.misfit`.
        rwp: √(Σ w (y − model)² / Σ w y²), noise included.
    """

    model: Float
    background: Float
    significance: float
    misfit: float
    rwp: float


class Explainer:
    """Holds the partial sums of every cluster on a fine Q grid."""

    def __init__(
        self, library: ClusterLibrary, form_q: Float, form_lead: Float, form_sulfur: Float
    ) -> None:
        self._diameters = library.diameters
        self._fine = np.arange(0.86, 15.36, FINE_STEP)
        self._sums = partial_sums(library, self._fine)
        self._form = FormFactors(
            np.interp(self._fine, form_q, form_lead),
            np.interp(self._fine, form_q, form_sulfur),
            LEAD_ANOMALOUS,
            SULFUR_ANOMALOUS,
        )
        self._splines = spline_basis(BINNED_Q)
        self._gains = family_gains(BINNED_Q)[:PRINCIPAL]

    def nanocrystals(
        self,
        diameter: float,
        dispersion: float,
        scale: float = 1.0,
        b_lead: float = 1.5,
        b_sulfur: float = 1.8,
    ) -> Float:
        """Nanocrystals alone on the bins, shape (1251,), mean 1; B in Å²."""
        sums = self._mixed(diameter, dispersion)
        return self._on_bins(self._debye(sums, b_lead, b_sulfur), scale)

    def fit(self, pattern: Float, coverage: Float, diameter: float, dispersion: float) -> Fit:
        """Explain a binned pattern (1251,) of mean 1 by nanocrystals of that size.

        `coverage` is the covered share of each bin; bins below one half are left out.
        """
        use = coverage > 0.5
        error = noise(pattern[use])
        data = Data(use, error, pattern[use] / error, self._splines[use] / error[:, None])
        shape, coefficients = self._refined(data, diameter, dispersion)
        design = np.column_stack([data.weigh(shape), data.splines])
        background = self._splines @ coefficients[1:]
        residual = data.target - design @ coefficients
        return Fit(
            model=coefficients[0] * shape + background,
            background=background,
            significance=significance(design, coefficients, residual),
            misfit=misfit(residual, coefficients[0] * design[:, 0], data.splines),
            rwp=float(np.linalg.norm(residual) / max(np.linalg.norm(data.target), 1e-12)),
        )

    def _refined(self, data: Data, size: float, spread: float) -> tuple[Float, Float]:
        """Gauss-Newton on the shape of the Debye part: (shape (1251,), coefficients).

        A step that does not help is taken back by half; the search ends when little is gained.
        """
        start = {"scale": 1.0, "dispersion": spread, "b_lead": 1.5, "b_sulfur": 1.8}
        moving = dict(start)
        plain = self.nanocrystals(size, **moving)
        amplitude = solve(data, plain, {}, {}, 1.0).amplitude
        if amplitude <= 1e-6:
            return plain, np.append(0.0, solve(data, 0.0 * plain, {}, {}, 1.0).background)
        best = solve(data, plain, self._linear(plain), {}, amplitude)
        for _ in range(ROUNDS):
            behind = {name: start[name] - moving[name] for name in moving}
            columns = self._derivatives(size, moving, plain) | self._linear(plain)
            shifts = solve(data, plain, columns, behind, amplitude).shifts
            before = best.cost
            for part in (1.0, 0.4):
                tried = _moved(moving, shifts, part)
                shape = self.nanocrystals(size, **tried)
                found = solve(data, shape, self._linear(shape), {}, amplitude)
                found = replace(found, cost=found.cost + _penalty(tried, start))
                if found.cost < best.cost:
                    moving, plain, best = tried, shape, found
                    break
            if best.cost > 0.98 * before:
                break
        bend = (s * PRIOR_SD[n] * c for (n, c), s in _pairs(self._linear(plain), best.shifts))
        shape = np.maximum(plain + sum(bend, np.zeros(POINTS)), 0.0)
        return shape, np.append(best.amplitude, best.background)

    def _derivatives(self, size: float, moving: dict[str, float], plain: Float) -> dict[str, Float]:
        """Change of the Debye part with every quantity that it depends on, per unit."""
        columns: dict[str, Float] = {}
        for name in moving:
            step = 0.1 * PRIOR_SD[name]
            moved = dict(moving)
            moved[name] += step
            columns[name] = (self.nanocrystals(size, **moved) - plain) / step
        return columns

    def _linear(self, plain: Float) -> dict[str, Float]:
        """Shapes in which the Debye part is linear: broadening, texture, smooth factors."""
        x = (BINNED_Q - 8.0) / 7.0
        columns = {
            "broadening": 0.5 * np.gradient(np.gradient(plain, BINNED_Q), BINNED_Q),
            "tilt": plain * np.exp(-(BINNED_Q - 0.99) / 0.3),
            "slope": plain * x,
            "curve": plain * (2.0 * x**2 - 1.0),
            "wave": plain * (4.0 * x**3 - 3.0 * x),
        }
        for family, gain in zip(("111", "100", "110"), self._gains, strict=True):
            columns[f"texture_{family}"] = plain * gain
        return columns

    def _mixed(self, diameter: float, dispersion: float) -> PartialSums:
        return self._sums.mixed(lognormal_weights(self._diameters, diameter, dispersion))

    def _debye(self, sums: PartialSums, b_lead: float, b_sulfur: float) -> Float:
        return intensity(sums, self._form, self._fine, b_lead, b_sulfur)

    def _on_bins(self, fine: Float, scale: float) -> Float:
        values = CubicSpline(self._fine, fine)(BINNED_Q * scale)
        return np.asarray(values / values.mean(), dtype=np.float64)


LIMITS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "scale": (0.985, 1.015),
        "dispersion": (0.02, 0.4),
        "b_lead": (0.3, 4.0),
        "b_sulfur": (0.3, 7.0),
    }
)


def _moved(moving: dict[str, float], shifts: dict[str, float], part: float) -> dict[str, float]:
    """Take a part of a step, two standard deviations at most, and stay within LIMITS."""
    return {
        n: float(np.clip(v + part * np.clip(shifts[n], -2, 2) * PRIOR_SD[n], *LIMITS[n]))
        for n, v in moving.items()
    }


def _penalty(moving: dict[str, float], start: dict[str, float]) -> float:
    return sum(((moving[n] - start[n]) / PRIOR_SD[n]) ** 2 for n in moving)


def _pairs(
    columns: dict[str, Float], shifts: dict[str, float]
) -> list[tuple[tuple[str, Float], float]]:
    return [((n, c), shifts[n]) for n, c in columns.items()]
