"""How well any method can do: the Cramér–Rao bound of the diameter on the published grid.

The pattern of a lognormal ensemble over a liquid is Poisson-distributed counts with the mean
μ(Q) = a I(Q; mean, dispersion, lattice scale, B(Pb), B(S)) + h H(Q) + Σ c_k P_k(Q). The Fisher
information is Jᵀ diag(1/μ) J, plus the precisions of the Gaussian priors; the bound is the root of
the diagonal element of its inverse that belongs to the number-average diameter (Rao 1945, Cramér
1946; with priors, Van Trees 1968). Lattice scale, both amplitudes and the cubic background are
free. No unbiased method has a smaller standard deviation without more prior knowledge.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline

from qd_agent.core.pattern import PUBLISHED_GRID
from qd_agent.scattering.ensemble import averages, lognormal_weights, mean_for_average
from qd_agent.scattering.form_factors import lead_sulfide
from qd_agent.scattering.forward import ClusterLibrary, PartialSums, debye_waller, partial_sums

Float = npt.NDArray[np.float64]

B_LEAD, B_SULFUR = 1.32, 1.49
"""Å², of the published clusters."""

PRIOR_DISPERSION, PRIOR_B_LEAD, PRIOR_B_SULFUR = 0.06, 0.3, 0.6
"""Standard deviations of what is known beforehand; B in Å²."""

WAVELENGTH = 0.5642
"""Å; sets f′ and f″."""

FREE_BACKGROUND = 4
"""Bernstein polynomials of degree 3 in Q: a cubic background."""

LIQUIDS = ("aliphatic", "aromatic")


@dataclass(frozen=True, slots=True)
class Parameters:
    """One pattern's parameters.

    Attributes:
        mean_nm: mean of the continuous lognormal in particle number; see `averages_nm`.
        dispersion: its relative standard deviation.
        lattice_scale: relative to bulk.
        b_lead, b_sulfur: Å².
        share: nanocrystals' share of the area.
        counts: mean counts per point of the grid.
        cubic: shares of the area of the four Bernstein polynomials.
        liquid: one of `LIQUIDS`; it takes what is left of the area.
    """

    mean_nm: float
    dispersion: float = 0.12
    lattice_scale: float = 1.0
    b_lead: float = B_LEAD
    b_sulfur: float = B_SULFUR
    share: float = 1.0
    counts: float = 2142.0
    cubic: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    liquid: str = LIQUIDS[0]


def hydrocarbon(q: Float, kind: str = LIQUIDS[0]) -> Float:
    """Synthetic halo of a hydrocarbon, shape (nq,), mean 1 over `q` (1/Å).

    First maximum between the chains (4.5 Å) or rings, weaker ones of the C–C distances 2.5 and
    1.5 Å, the falling self-scattering of carbon and Compton scattering that rises and levels off.
    """
    first, width, second = (1.38, 0.18, 0.0) if kind == LIQUIDS[0] else (1.30, 0.24, 0.35)
    halo = _bell(q, first, width) + second * _bell(q, 1.9, 0.3)
    halo = halo + 0.12 * _bell(q, 2.9, 0.45) + 0.05 * _bell(q, 5.3, 0.7)
    halo = halo + 0.18 * np.exp(-((q / 4.0) ** 1.5)) - 0.10 * np.expm1(-((q / 5.0) ** 2)) + 0.02
    return halo / halo.mean()


def _bell(q: Float, centre: float, width: float) -> Float:
    u = ((q - centre) / width) ** 2
    return 0.6 * np.exp(-0.5 * u) + 0.4 / (1.0 + u)


class PhysicalLimit:
    """Expected counts on a Q grid, with derivatives, and the bound."""

    def __init__(self, library: ClusterLibrary, q: Float | None = None) -> None:
        """Tabulate every cluster of `library` on `q` (1/Å; the published grid when not given)."""
        self.q = PUBLISHED_GRID.values() if q is None else q
        step = float(np.diff(self.q).min())
        # Strain reads the table up to 2 % beside the grid; a cubic through it is exact to 1e-4 of
        # the longest distances of an 18 nm cluster, and to 1e-6 of those of 5 nm.
        self._fine = np.arange(0.98 * self.q[0], 1.02 * self.q[-1] + step, step)
        self._diameters = library.diameters
        self._sums = partial_sums(library, self._fine)
        self._products = lead_sulfide(self.q, WAVELENGTH).products()
        self._liquids = {kind: hydrocarbon(self.q, kind) for kind in LIQUIDS}
        x = (self.q - self.q[0]) / (self.q[-1] - self.q[0])
        self._cubics = np.stack(
            [(1 - x) ** 3, 3 * x * (1 - x) ** 2, 3 * x**2 * (1 - x), x**3], axis=1
        )
        self._cubics /= self._cubics.mean(axis=0)

    def averages_nm(self, given: Parameters) -> tuple[float, float]:
        """(number, volume-weighted) average over the cluster grid, nm."""
        weights = lognormal_weights(self._diameters, given.mean_nm, given.dispersion)
        number, volume = averages(self._diameters, weights)
        return float(number), float(volume)

    def with_average(self, given: Parameters, average_nm: float) -> Parameters:
        """Give the same with the mean whose number average over the grid is `average_nm`.

        Raises:
            ValueError: there is none.
        """
        mean = mean_for_average(self._diameters, average_nm, given.dispersion)
        return replace(given, mean_nm=mean)

    def expected(self, given: Parameters) -> Float:
        """Give the mean counts of every point, shape (nq,)."""
        crystal = self._crystal(self._mixed(given.mean_nm, given.dispersion), given)
        return self._amplitude(crystal, given) * crystal + self._background(given)

    def bound_nm(self, given: Parameters) -> float:
        """Least standard deviation of the number-average diameter, nm."""
        mean, jacobian, gradient = self._derivatives(given)
        information = jacobian.T @ (jacobian / np.maximum(mean, 1e-9)[:, None])
        priors = np.zeros(jacobian.shape[1])
        priors[1], priors[3], priors[4] = PRIOR_DISPERSION, PRIOR_B_LEAD, PRIOR_B_SULFUR
        known = priors > 0
        information[known, known] += 1.0 / priors[known] ** 2
        scale = 1.0 / np.sqrt(np.diag(information))
        inverse = np.linalg.inv(information * np.outer(scale, scale))
        along = gradient * scale[:2]
        return float(np.sqrt(along @ inverse[:2, :2] @ along))

    def _derivatives(self, given: Parameters) -> tuple[Float, Float, Float]:
        """(μ, Jacobian (nq, 11), gradient of the number average by mean and dispersion)."""
        t, step = given, 1e-3
        here = self._mixed(t.mean_nm, t.dispersion)
        crystal = self._crystal(here, t)
        amplitude = self._amplitude(crystal, t)

        def difference(mean: float, dispersion: float) -> tuple[Float, float]:
            up, down = (
                replace(
                    t, mean_nm=t.mean_nm + sign * mean, dispersion=t.dispersion + sign * dispersion
                )
                for sign in (0.5, -0.5)
            )
            rows = [self._crystal(self._mixed(s.mean_nm, s.dispersion), t) for s in (up, down)]
            numbers = [self.averages_nm(s)[0] for s in (up, down)]
            return (rows[0] - rows[1]) / step, (numbers[0] - numbers[1]) / step

        by_mean, number_by_mean = difference(step, 0.0)
        by_dispersion, number_by_dispersion = difference(0.0, step)
        lead, sulfur = self._thermal(here, t)
        columns = [
            amplitude * by_mean,
            amplitude * by_dispersion,
            amplitude * self._by_scale(here, t),
            amplitude * lead,
            amplitude * sulfur,
            crystal,
            self._liquids[t.liquid],
            *self._cubics.T,
        ]
        return (
            amplitude * crystal + self._background(t),
            np.stack(columns, axis=1),
            np.array([number_by_mean, number_by_dispersion]),
        )

    def _mixed(self, mean: float, dispersion: float) -> PartialSums:
        return self._sums.mixed(lognormal_weights(self._diameters, mean, dispersion))

    def _terms(self, sums: PartialSums, t: Parameters, order: int) -> tuple[Float, Float, Float]:
        """Interference terms Pb–Pb, Pb–S, S–S (or their slopes in Q) read at Q × scale."""
        rows = np.stack([sums.lead_lead, sums.lead_sulfur, sums.sulfur_sulfur])
        read = CubicSpline(self._fine, rows, axis=1)(self.q * t.lattice_scale, order)
        lead2, cross, sulfur2 = self._products
        damp_lead, damp_sulfur = debye_waller(self.q, t.b_lead), debye_waller(self.q, t.b_sulfur)
        return (
            lead2 * damp_lead**2 * read[0],
            2.0 * cross * damp_lead * damp_sulfur * read[1],
            sulfur2 * damp_sulfur**2 * read[2],
        )

    def _crystal(self, sums: PartialSums, t: Parameters) -> Float:
        """I(Q) per particle, electrons²; the self terms are not damped."""
        lead2, _, sulfur2 = self._products
        return lead2 * sums.lead + sulfur2 * sums.sulfur + sum(self._terms(sums, t, 0))

    def _by_scale(self, sums: PartialSums, t: Parameters) -> Float:
        return self.q * np.sum(self._terms(sums, t, 1), axis=0)

    def _thermal(self, sums: PartialSums, t: Parameters) -> tuple[Float, Float]:
        """dI/dB(Pb) and dI/dB(S): every damped amplitude falls by s² = (Q/4π)² per unit of B."""
        lead, mixed, sulfur = self._terms(sums, t, 0)
        s2 = (self.q / (4.0 * np.pi)) ** 2
        return -s2 * (2.0 * lead + mixed), -s2 * (2.0 * sulfur + mixed)

    @staticmethod
    def _amplitude(crystal: Float, t: Parameters) -> float:
        return float(t.share * t.counts / crystal.mean())

    def _background(self, t: Parameters) -> Float:
        liquid = max(0.0, 1.0 - t.share - sum(t.cubic))
        return t.counts * (liquid * self._liquids[t.liquid] + self._cubics @ np.array(t.cubic))


def bound_nm(
    limit: PhysicalLimit, diameter_nm: float, dispersion: float, share: float, counts: float
) -> float:
    """Bound for a number average (nm), dispersion, share of the area and counts per point."""
    given = Parameters(diameter_nm, dispersion=dispersion, share=share, counts=counts)
    return limit.bound_nm(limit.with_average(given, diameter_nm))
