"""The full Debye model of a pattern: nanocrystals as an instrument shows them, on a background.

Nonlinear in what shapes the nanocrystals' pattern (size, dispersion, lattice scale, B, broadening,
zero shift), linear in the rest. The derivatives of the linear part are exact, those of the other
parameters are forward differences.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq
from scipy.interpolate import CubicSpline

from qd_agent.inference.refinement_background import Background
from qd_agent.inference.refinement_priors import TEXTURES
from qd_agent.scattering.ensemble import lognormal_weights
from qd_agent.scattering.form_factors import FormFactors, anomalous
from qd_agent.scattering.forward import ClusterLibrary, intensity, partial_sums
from qd_agent.scattering.reflections import family_gains

Float = npt.NDArray[np.float64]

FINE_START, FINE_END, FINE_STEP = 0.80, 15.49, 0.0056
"""Table of the partial sums, 1/Å. Clusters end at 18.6 nm, so a cubic through the table is exact to
1e-5; the ends leave room for strain, zero shift and broadening."""

USUAL_WAVELENGTH = 0.5642
"""Å; f'' and f'(S) where the wavelength is not known (f'(Pb) is then a parameter of the fit)."""

NONLINEAR_STEPS: Mapping[str, float] = MappingProxyType(
    {
        "mean_nm": 2e-3,
        "dispersion": 1e-3,
        "b_lead": 5e-3,
        "b_sulfur": 1e-2,
        "lattice_scale": 1e-5,
        "zero_shift": 1e-5,
        "broadening": 1e-6,
        "microstrain": 1e-8,
        "lead_real": 2e-2,
    }
)
"""Parameters that shape the nanocrystals, and the step of each one's derivative."""

STANDARD_SUM = 1e3
"""The nanocrystals' shape is divided by this × atoms, so that `scale` is of order 1 to 1000."""


class DebyeTable:
    """Partial sums of every cluster on a fine Q grid; half a second to make."""

    def __init__(
        self, library: ClusterLibrary, form_q: Float, form_lead: Float, form_sulfur: Float
    ) -> None:
        self.diameters = library.diameters
        self._fine = np.arange(FINE_START, FINE_END, FINE_STEP)
        self._sums = partial_sums(library, self._fine)
        self._form = FormFactors(
            np.interp(self._fine, form_q, form_lead), np.interp(self._fine, form_q, form_sulfur)
        )
        self._length = int(next_fast_len(self._fine.size + 64, real=True) or self._fine.size + 64)

    def form(self, wavelength: float | None) -> FormFactors:
        """Form factors at a wavelength in Å; None is `USUAL_WAVELENGTH`."""
        at = wavelength or USUAL_WAVELENGTH
        return replace(
            self._form,
            lead_anomalous=anomalous("Pb", at),
            sulfur_anomalous=anomalous("S", at),
        )

    def shape(self, at: Float, values: Mapping[str, float], form: FormFactors) -> Float:
        """Nanocrystals alone at `at` (1/Å), shape of `at`; electrons² an atom, in thousands.

        `broadening` is the variance of a Gaussian in Q and `microstrain` that of one in ln Q,
        which three Gauss-Hermite points average exactly up to the fifth power. Variances, because
        a pattern changes linearly with them from 0 on: the derivative by an sd vanishes at 0, and
        a search that has come there stays.
        """
        if "lead_real" in values:
            known = form.lead_anomalous
            form = replace(form, lead_anomalous=complex(values["lead_real"], known.imag))
        weights = lognormal_weights(self.diameters, values["mean_nm"], values["dispersion"])
        sums = self._sums.mixed(weights)
        fine = intensity(sums, form, self._fine, values["b_lead"], values["b_sulfur"])
        fine = fine / (STANDARD_SUM * float((sums.lead + sums.sulfur)[0]))
        curve = CubicSpline(self._fine, self._broadened(fine, values["broadening"]))
        centre = at * values["lattice_scale"] + values["zero_shift"]
        reach = np.sqrt(3.0 * max(values["microstrain"], 0.0)) * at
        if not values["microstrain"] > 0:
            return np.asarray(curve(centre))
        sides = np.asarray(curve(centre - reach)) + np.asarray(curve(centre + reach))
        return (4.0 * np.asarray(curve(centre)) + sides) / 6.0

    def _broadened(self, fine: Float, variance: float) -> Float:
        if not variance > 0:
            return fine
        # The gap that the transform's period closes is bridged, so that no edge rings.
        bridge = np.linspace(fine[-1], fine[0], self._length - fine.size + 2)[1:-1]
        wave = 2.0 * np.pi * rfftfreq(self._length, FINE_STEP)
        damped = rfft(np.concatenate([fine, bridge])) * np.exp(-0.5 * variance * wave**2)
        return np.asarray(irfft(damped, self._length), dtype=np.float64)[: fine.size]


@dataclass(frozen=True, slots=True)
class Curves:
    """One evaluation: nanocrystals and background, shape (points,)."""

    nanocrystals: Float
    background: Float

    @property
    def total(self) -> Float:
        """Their sum."""
        return self.nanocrystals + self.background


class PatternModel:
    """The model on the points of one pattern; parameters are a vector in the order of `names`.

    Args:
        table: the clusters.
        q: shape (points,), 1/Å.
        wavelength: Å, or None.
        held: names of the parameters with priors, nonlinear and factors, in order.
        background: columns on the same points.
    """

    def __init__(
        self,
        table: DebyeTable,
        q: Float,
        wavelength: float | None,
        held: tuple[str, ...],
        background: Background,
    ) -> None:
        self.q = q
        self._table = table
        self._form = table.form(wavelength)
        self.shaping = tuple(n for n in held if n in NONLINEAR_STEPS)
        factors = _factors(q)
        self._factor_names = tuple(n for n in held if n in factors)
        self._factors = np.array([factors[n] for n in self._factor_names])
        self.background = background
        self._fixed = background.columns
        self.linear = ("scale", *background.names)
        self.names = (*held, *self.linear)
        if set(held) != {*self.shaping, *self._factor_names}:
            raise ValueError(f"parameters without a meaning: {set(held) - set(factors)}")
        self._at = {name: i for i, name in enumerate(self.names)}
        self._from = self._at[self.linear[1]]
        self.evaluations = 0

    def where(self, name: str) -> int:
        """Index of a parameter."""
        return self._at[name]

    def curves(self, x: Float) -> Curves:
        """Evaluate."""
        shape = self._shape(x)
        gained = x[self._at["scale"]] * shape * self._gain(x)
        return Curves(gained, self._fixed @ x[self._from :])

    def jacobian(self, x: Float) -> Float:
        """Derivative of the total by every parameter, shape (points, parameters)."""
        shape, gain, scale = self._shape(x), self._gain(x), x[self._at["scale"]]
        columns = np.empty((self.q.size, x.size))
        for name in self.shaping:
            moved = x.copy()
            moved[self._at[name]] += NONLINEAR_STEPS[name]
            change = (self._shape(moved) - shape) / NONLINEAR_STEPS[name]
            columns[:, self._at[name]] = scale * gain * change
        for name, factor in zip(self._factor_names, self._factors, strict=True):
            columns[:, self._at[name]] = scale * shape * gain * factor
        columns[:, self._at["scale"]] = shape * gain
        columns[:, self._from :] = self._fixed
        return columns

    def _gain(self, x: Float) -> Float:
        exponents = np.array([x[self._at[n]] for n in self._factor_names])
        return np.exp(exponents @ self._factors)

    def _shape(self, x: Float) -> Float:
        self.evaluations += 1
        values = {name: float(x[self._at[name]]) for name in self.shaping}
        return self._table.shape(self.q, values, self._form)


def _factors(q: Float) -> dict[str, Float]:
    """Factors of the nanocrystals' part: exp(Σ value × these)."""
    x = (q - 0.99) / (15.0 - 0.99)
    return {
        "tilt": np.exp(-(q - 0.99) / 0.3),
        **{f"smooth_{k}": np.cos(np.pi * k * x) for k in range(1, 6)},
        **{f"texture_{n}": g for n, g in zip(TEXTURES, family_gains(q), strict=True)},
    }
