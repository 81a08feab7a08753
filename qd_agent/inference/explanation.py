"""The Debye pattern that explains a measured one, by linear least squares; no network here.

For the size and dispersion that the network gave, nanocrystals plus a smooth background are fitted:
lattice scale, dispersion, Debye-Waller factors and broadening move a little from their usual values
(each held by a prior), the background is a nonnegative spline whose pieces are wider than a peak
of nanocrystals. What remains, and how much of the pattern the nanocrystals are needed for, tells
whether the answer is believable. It works on the network's bins of 0.0112 1/Å.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.interpolate import BSpline, CubicSpline
from scipy.ndimage import uniform_filter1d
from scipy.optimize import nnls

from qd_agent.core.pattern import PUBLISHED_GRID
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

KNOTS: tuple[float, ...] = (
    0.98, 1.13, 1.28, 1.43, 1.6, 1.85, 2.2, 2.7, 3.3, 4.0, 5.0, 6.5, 8.5, 11.0, 15.01
)  # fmt: skip
"""Background spline, 1/Å: follows a liquid's halo below 1.6, where PbS has no reflection, and is
wider than the peaks of nanocrystals above."""

ROUNDS = 4
"""Gauss-Newton steps at most; they end when the residual falls by less than 1 %."""

PRIOR_SD = {
    "scale": 0.004,
    "dispersion": 0.04,
    "b_lead": 0.4,
    "b_sulfur": 1.0,
    "broadening": 2e-4,
    "tilt": 0.3,
    "slope": 0.1,
    "curve": 0.1,
    "wave": 0.05,
    "texture_111": 0.3,
    "texture_100": 0.3,
    "texture_110": 0.3,
}
"""How far each shape may move from its usual value (units of the quantity, Å² for B)."""


@dataclass(frozen=True, slots=True)
class Fit:
    """What the fit found.

    Attributes:
        model, background: shape (1251,), in the unit of the given pattern.
        significance: amplitude of the nanocrystals over its uncertainty.
        misfit: structured residual over the ripple of the Debye part; see `_misfit`.
        rwp: √(Σ w (y − model)² / Σ w y²), noise included.
    """

    model: Float
    background: Float
    significance: float
    misfit: float
    rwp: float


@dataclass(frozen=True, slots=True)
class _Data:
    """What is fitted, in units of the uncertainty: bins in use, errors, target, background."""

    use: npt.NDArray[np.bool_]
    error: Float
    target: Float
    splines: Float

    def weigh(self, curve: Float) -> Float:
        """Curve on all bins (1251,) to the bins in use, over their uncertainty."""
        return curve[self.use] / self.error


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
        self._splines = _spline_basis(BINNED_Q)
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
        error = _noise(pattern[use])
        data = _Data(use, error, pattern[use] / error, self._splines[use] / error[:, None])
        shape, coefficients = self._refined(data, diameter, dispersion)
        design = np.column_stack([data.weigh(shape), data.splines])
        background = self._splines @ coefficients[1:]
        residual = data.target - design @ coefficients
        return Fit(
            model=coefficients[0] * shape + background,
            background=background,
            significance=_significance(design, coefficients, residual),
            misfit=_misfit(residual, coefficients[0] * design[:, 0], data.splines),
            rwp=float(np.linalg.norm(residual) / max(np.linalg.norm(data.target), 1e-12)),
        )

    def _refined(self, data: _Data, size: float, spread: float) -> tuple[Float, Float]:
        """Gauss-Newton on the shape of the Debye part: (shape (1251,), coefficients).

        A step that does not help is taken back by half; the search ends when little is gained.
        """
        start = {"scale": 1.0, "dispersion": spread, "b_lead": 1.5, "b_sulfur": 1.8}
        moving = dict(start)
        plain = self.nanocrystals(size, **moving)
        amplitude = _solve(data, plain, {}, {}, 1.0).amplitude
        if amplitude <= 1e-6:
            return plain, np.append(0.0, _solve(data, 0.0 * plain, {}, {}, 1.0).background)
        best = _solve(data, plain, self._linear(plain), {}, amplitude)
        for _ in range(ROUNDS):
            behind = {name: start[name] - moving[name] for name in moving}
            columns = self._derivatives(size, moving, plain) | self._linear(plain)
            shifts = _solve(data, plain, columns, behind, amplitude).shifts
            before = best.cost
            for part in (1.0, 0.4):
                tried = _moved(moving, shifts, part)
                shape = self.nanocrystals(size, **tried)
                found = _solve(data, shape, self._linear(shape), {}, amplitude)
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


LIMITS = {
    "scale": (0.985, 1.015),
    "dispersion": (0.02, 0.4),
    "b_lead": (0.3, 4.0),
    "b_sulfur": (0.3, 7.0),
}


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


@dataclass(frozen=True, slots=True)
class _Solution:
    """Amplitude, shifts of the shapes in units of their prior's sd, background, cost (χ²)."""

    amplitude: float
    shifts: dict[str, float]
    background: Float
    cost: float


def _solve(
    data: _Data, plain: Float, columns: dict[str, Float], behind: dict[str, float], usual: float
) -> _Solution:
    """Least squares for amplitude a ≥ 0, a·shift of each shape, and a background ≥ 0.

    A shift may have either sign, so its column enters twice. Its prior is a row of the system,
    scaled by the `usual` amplitude; `behind` is how far its start lies from where it is now.
    """
    names = list(columns)
    count = len(names)
    shapes = [data.weigh(columns[n]) * PRIOR_SD[n] for n in names]
    # With shapes, the plain part keeps at least a third of its usual amplitude: they bend it, they
    # must not replace it.
    least = usual / 3.0 if names else 0.0
    debye = data.weigh(plain)
    design = np.column_stack([debye, *shapes, data.splines, data.target - least * debye])
    # The triangular factor has the same minimum and 40 rows instead of 1251.
    factor = np.asarray(np.linalg.qr(design, mode="r"), dtype=np.float64)
    wanted = np.array([behind.get(n, 0.0) / PRIOR_SD[n] for n in names])
    prior = np.zeros((count, factor.shape[1]))
    prior[:, 1 : 1 + count] = np.eye(count) / usual
    prior[:, -1] = wanted
    system = np.concatenate([factor, prior])
    mirrored = np.column_stack([system[:, :-1], -system[:, 1 : 1 + count]])
    answer, residual = nnls(mirrored, system[:, -1], maxiter=20 * mirrored.shape[1])
    background = answer[1 + count : mirrored.shape[1] - count]
    signed = answer[1 : 1 + count] - answer[mirrored.shape[1] - count :]
    amplitude = least + float(answer[0])
    scale = amplitude if amplitude > 1e-9 else np.inf
    return _Solution(
        amplitude=amplitude,
        shifts={n: float(s / scale) for n, s in zip(names, signed, strict=True)},
        background=background,
        cost=float(residual) ** 2,
    )


def _spline_basis(q: Float) -> Float:
    """Nonnegative cubic B-splines on KNOTS, shape (nq, number of knots + 2)."""
    knots = np.concatenate([[KNOTS[0]] * 3, KNOTS, [KNOTS[-1]] * 3])
    return np.asarray(BSpline.design_matrix(q, knots, 3).toarray(), dtype=np.float64)


def _noise(y: Float) -> Float:
    """Standard uncertainty of each point, from the pattern itself.

    Counting noise goes with √y; its size comes from second differences (variance 6 σ² for white
    noise), robustly. One percent of y is added for what no model describes.
    """
    level = np.maximum(uniform_filter1d(y, 15, mode="nearest"), 0.02 * max(float(y.mean()), 1e-9))
    second = np.diff(y, 2) / np.sqrt(6.0 * level[1:-1])
    unit = float(np.median(np.abs(second)) / 0.6745) if second.size else 0.0
    return np.sqrt(unit**2 * level + (0.01 * level) ** 2)


def _significance(design: Float, coefficients: Float, residual: Float) -> float:
    """Amplitude over its uncertainty; neighbouring residuals that agree count as fewer points."""
    if coefficients[0] <= 0:
        return 0.0
    active = np.flatnonzero(coefficients > 0)
    normal = design[:, active].T @ design[:, active]
    variance = float(np.linalg.pinv(normal)[0, 0])
    together = uniform_filter1d(residual, 9, mode="nearest")
    chi2 = max(float(np.mean(residual**2)), 9.0 * float(np.mean(together**2)), 1e-12)
    return float(coefficients[0] / np.sqrt(variance * chi2))


def _misfit(residual: Float, debye: Float, splines: Float) -> float:
    """Structured residual over the ripple that the Debye part adds beyond any background.

    All in units of the uncertainty; smoothing over nine bins (0.1 1/Å) leaves what has structure.
    One unit (noise, or one percent of the pattern) is added to the ripple: a faint ripple must not
    be blamed for what a spline cannot follow in the background.
    """
    ripple = debye - splines @ np.linalg.lstsq(splines, debye, rcond=None)[0]
    contrast = float(np.mean(uniform_filter1d(ripple, 9, mode="nearest") ** 2))
    white = float(np.mean(np.diff(residual, 2) ** 2)) / 6.0 / 9.0 if residual.size > 2 else 0.0
    structured = float(np.mean(uniform_filter1d(residual, 9, mode="nearest") ** 2)) - white
    return float(np.sqrt(max(structured, 0.0) / (contrast + 1.0)))
