"""Debye patterns of nanocrystals on the network's bins, several at once, with their derivatives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d, spline_filter1d

from qd_agent.core.pattern import PUBLISHED_GRID
from qd_agent.inference.network import BIN, POINTS
from qd_agent.scattering.ensemble import averages, lognormal_weights
from qd_agent.scattering.form_factors import FormFactors
from qd_agent.scattering.forward import (
    ClusterLibrary,
    debye_waller,
    distances,
    partial_sums,
)

Float = npt.NDArray[np.float64]

BINNED_Q: Float = PUBLISHED_GRID.values().reshape(POINTS, BIN).mean(axis=1)

FINE_STEP = 0.0056
"""Table spacing, 1/Å: a cubic through it is exact to 1e-5 at 20 nm distances."""

LEAD_ANOMALOUS, SULFUR_ANOMALOUS = -1.4 + 7.0j, 0.1 + 0.1j
"""f' + i f'' at 0.56 Å, amid the usual wavelengths (Chantler). The pattern does not say which it
was; a fit moves those of Pb (`BinnedDebye.contrast`)."""

STEPS: Mapping[str, float] = MappingProxyType({"size": 0.002, "dispersion": 0.0004})
"""Differences that these derivatives are taken over; the size's is relative. A dispersion of 3 % at
2.5 nm is a sixth of the spacing of the clusters: steps ten times as long are no derivatives
there."""


@dataclass(frozen=True, slots=True)
class Dots:
    """An ensemble and how sharply it is seen.

    Mean diameter (nm) and dispersion of the lognormal, lattice scale, B in Å², and the standard
    deviation of the instrument's Gaussian, 1/Å.
    """

    size: float
    dispersion: float
    scale: float = 1.0
    b_lead: float = 1.5
    b_sulfur: float = 1.8
    resolution: float = 0.0


@dataclass(frozen=True, slots=True)
class _Parts:
    """Scattering of ensembles on the fine grid, per particle.

    `whole` (ensembles, nq); of the first one what |f_Pb|² (interference `lead`, and `lead_self`),
    Re f_Pb f_S* and |f_S|² multiply, (nq,) each, damped.
    """

    whole: Float
    lead: Float
    mixed: Float
    sulfur: Float
    lead_self: float


NOTHING = 1e-12
"""A cluster of an ensemble that scatters so much less than its strongest one is left out."""


class BinnedDebye:
    """Holds the partial sums of every cluster, averaged over a bin, on a fine Q grid."""

    def __init__(
        self, library: ClusterLibrary, form_q: Float, form_lead: Float, form_sulfur: Float
    ) -> None:
        self.diameters = library.diameters
        self._fine = np.arange(0.86, 15.36, FINE_STEP)
        sums = partial_sums(_averaged(library, BIN, PUBLISHED_GRID.step), self._fine)
        self._flat = np.concatenate(
            [sums.lead_lead, sums.lead_sulfur, sums.sulfur_sulfur, sums.lead, sums.sulfur], axis=1
        )
        lead = np.interp(self._fine, form_q, form_lead)
        sulfur = np.interp(self._fine, form_q, form_sulfur)
        self._products = FormFactors(lead, sulfur, LEAD_ANOMALOUS, SULFUR_ANOMALOUS).products()
        # |f|² and f_Pb f_S change with f' of Pb by these, and |f|² with its f''² by 1.
        self._by_real = (2.0 * (lead + LEAD_ANOMALOUS.real), sulfur + SULFUR_ANOMALOUS.real)
        self._heavy = np.interp(BINNED_Q, self._fine, self._products[0])

    def pattern(self, dots: Dots) -> Float:
        """Nanocrystals alone on the bins, shape (1251,), mean 1."""
        values = self._read(_seen(self._parts(dots, []).whole, dots), dots.scale)[0]
        return np.asarray(values / values.mean(), dtype=np.float64)

    def derivatives(self, dots: Dots) -> tuple[Float, dict[str, Float]]:
        """(pattern, its change with every quantity per unit), each of shape (1251,)."""
        steps = {n: s * dots.size if n == "size" else s for n, s in STEPS.items()}
        parts = self._parts(dots, [replace(dots, **{n: getattr(dots, n) + s})
                                   for n, s in steps.items()])  # fmt: skip
        fine = np.concatenate([parts.whole, self._thermal(parts, dots)])
        values = self._read(_seen(fine, dots), dots.scale)
        means = values.mean(axis=1, keepdims=True)
        ensembles = values[:-2] / means[:-2]
        plain = ensembles[0]
        columns = {
            name: (ensembles[i + 1] - plain) / step for i, (name, step) in enumerate(steps.items())
        }
        lead, sulfur = (values[-2:] - means[-2:] * plain) / means[0]
        slope = BINNED_Q * self._heavy * slope_of(plain / self._heavy) / dots.scale
        return plain, {
            **columns,
            "b_lead": lead,
            "b_sulfur": sulfur,
            "scale": slope - plain * slope.mean(),
        }

    def contrast(self, dots: Dots) -> dict[str, Float]:
        """Change of the pattern with f' of Pb, and with its f''², per electron unit."""
        parts = self._parts(dots, [])
        squared, cross = self._by_real
        lead = parts.lead_self + parts.lead
        both = np.stack([parts.whole[0], squared * lead + cross * parts.mixed, lead])
        values = self._read(_seen(both, dots), dots.scale)
        values = values / values[0].mean()
        return {"lead_real": values[1], "lead_imaginary": values[2]}

    def averages(self, size: float, dispersion: float) -> tuple[float, float]:
        """(number average, volume-weighted average), nm, over the clusters."""
        weights = lognormal_weights(self.diameters, size, dispersion)
        number, volume = averages(self.diameters, weights)
        return float(number), float(volume)

    def _read(self, fine: Float, scale: float) -> Float:
        """Cubic splines through fine patterns (n, nq), read at the bins' Q times `scale`.

        A lattice that is larger by `scale` moves the interference and leaves the form factors where
        they are. All are put back as |f_Pb|² is, which nine tenths of a pattern are made of.
        """
        coefficients = spline_filter1d(fine, order=3, axis=1, mode="mirror")
        read = _cubic(coefficients, (BINNED_Q * scale - self._fine[0]) / FINE_STEP)
        put_back = self._heavy / np.interp(BINNED_Q * scale, self._fine, self._products[0])
        return read * put_back

    def _parts(self, dots: Dots, others: list[Dots]) -> _Parts:
        """Scattering of an ensemble, and of `others` that differ in size and dispersion alone."""
        column = np.array([[d.size, d.dispersion] for d in (dots, *others)])
        weights = lognormal_weights(self.diameters, column[:, :1], column[:, 1:])
        count = self._fine.size
        # An ensemble has a few of the clusters: the table's other rows need not be read.
        some = _telling(weights, self.diameters)
        flat = weights[:, some] @ self._flat[some]
        # What is read at Q × scale must be damped as at Q.
        lead, sulfur = (
            debye_waller(self._fine, b / dots.scale**2) for b in (dots.b_lead, dots.b_sulfur)
        )
        lead2, cross, sulfur2 = self._products
        interference = flat[:, :count] * (lead2 * lead**2)
        interference += flat[:, count : 2 * count] * (2.0 * cross * lead * sulfur)
        interference += flat[:, 2 * count : 3 * count] * (sulfur2 * sulfur**2)
        alone = lead2 * flat[:, -2:-1] + sulfur2 * flat[:, -1:]
        return _Parts(
            whole=alone + interference,
            lead=flat[0, :count] * lead**2,
            mixed=2.0 * lead * sulfur * flat[0, count : 2 * count],
            sulfur=flat[0, 2 * count : 3 * count] * sulfur**2,
            lead_self=float(flat[0, -2]),
        )

    def _thermal(self, parts: _Parts, dots: Dots) -> Float:
        """Change with B of Pb and of S, Å², shape (2, nq): each amplitude falls by s² per unit."""
        lead2, cross, sulfur2 = self._products
        mixed = cross * parts.mixed
        damped = np.stack([2.0 * lead2 * parts.lead + mixed, 2.0 * sulfur2 * parts.sulfur + mixed])
        return damped * -((self._fine / (4.0 * np.pi * dots.scale)) ** 2)


def slope_of(pattern: Float) -> Float:
    """Derivative of a pattern on the bins by Q, shape (1251,), per 1/Å."""
    return np.asarray(np.gradient(pattern, PUBLISHED_GRID.step * BIN), dtype=np.float64)


def _cubic(coefficients: Float, where: Float) -> Float:
    """Cubic splines of these coefficients (n, nq) at places `where` (m,), in steps of the table.

    Places keep two steps away from both ends. All rows are read at the same ones, so weights are
    worked out once; scipy's `map_coordinates` does a row at a time, and takes 2.5 times as long.
    """
    before = where.astype(np.intp) - 1
    t = where - 1.0 - before
    read = np.take(coefficients, before, axis=1) * ((1.0 - t) ** 3 / 6.0)
    read += np.take(coefficients, before + 1, axis=1) * ((3.0 * t**3 - 6.0 * t**2 + 4.0) / 6.0)
    read += np.take(coefficients, before + 2, axis=1) * ((3.0 * (t + t**2 - t**3) + 1.0) / 6.0)
    read += np.take(coefficients, before + 3, axis=1) * (t**3 / 6.0)
    return read


def _telling(weights: Float, diameters: Float) -> slice:
    """Give the rows of a table of clusters that weights (n, clusters) do not leave out.

    Scattering goes at most with the sixth power of the diameter.
    """
    strength = weights * diameters**6
    (rows,) = np.nonzero((strength > NOTHING * strength.max(axis=1, keepdims=True)).any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1)


def _seen(patterns: Float, dots: Dots) -> Float:
    """Broaden fine patterns (n, nq) by the instrument."""
    if dots.resolution <= 0.0:
        return patterns
    return np.asarray(
        gaussian_filter1d(patterns, dots.resolution / FINE_STEP, axis=1, mode="nearest"),
        dtype=np.float64,
    )


def _averaged(library: ClusterLibrary, points: int, step: float) -> ClusterLibrary:
    """Multiplicities such that every sine is the mean over a bin's `points`, `step` (1/Å) apart.

    A bin is the mean of so many points of the grid, not an integral over its width, which damps
    distances of 9 nm by 0.25 % more: a pattern of 9 nm would look larger by 0.005 nm.
    """

    def factor(squared: Float) -> Float:
        half = 0.5 * step * distances(squared)
        return np.sin(points * half) / (points * np.sin(half))

    even, odd = factor(library.even), factor(library.odd)
    return replace(
        library,
        lead_lead=library.lead_lead * even,
        sulfur_sulfur=library.sulfur_sulfur * even,
        lead_sulfur=library.lead_sulfur * odd,
    )
