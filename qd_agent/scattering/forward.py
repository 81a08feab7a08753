"""From pair multiplicities to I(Q): the Debye equation over the few distances of a lattice.

All distances of rock salt are (a/2)·√m with an integer m: even m between like atoms, odd m between
Pb and S. A cluster is therefore three short rows of multiplicities, and one table of sin(Qr)/(Qr)
serves every cluster.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qd_agent.scattering.ensemble import LATTICE_PARAMETER, lognormal_weights
from qd_agent.scattering.form_factors import FormFactors

Float = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ClusterLibrary:
    """Pair multiplicities of every cluster; row n belongs to `diameters[n]`.

    Attributes:
        diameters: shape (n,), nm.
        lead, sulfur: shape (n,), number of atoms (S fractional: surface S is shared).
        even, odd: shapes (ke,), (ko,): the squared distances m, in units of (a/2)², ascending.
        lead_lead, sulfur_sulfur: shape (n, ke), ordered pairs of different sites, Σ o_i o_j.
        lead_sulfur: shape (n, ko), pairs counted once (Pb, S).
    """

    diameters: Float
    lead: Float
    sulfur: Float
    even: Float
    odd: Float
    lead_lead: Float
    sulfur_sulfur: Float
    lead_sulfur: Float


@dataclass(frozen=True, slots=True)
class PartialSums:
    """Interference sums without self terms; shape (..., nq), or (nq,) once mixed.

    Attributes:
        lead_lead, sulfur_sulfur: Σ_{i≠j} o_i o_j sin(Qr)/(Qr) over ordered pairs.
        lead_sulfur: the same over pairs (Pb, S), each counted once.
        lead, sulfur: number of atoms, shape (..., 1): the self terms.
    """

    lead_lead: Float
    lead_sulfur: Float
    sulfur_sulfur: Float
    lead: Float
    sulfur: Float

    def mixed(self, weights: Float) -> PartialSums:
        """Sum over clusters, rows of `weights` (..., n) being shares of particles."""
        return PartialSums(
            weights @ self.lead_lead,
            weights @ self.lead_sulfur,
            weights @ self.sulfur_sulfur,
            weights @ self.lead,
            weights @ self.sulfur,
        )


def distances(squared: Float, lattice_scale: float = 1.0) -> Float:
    """Distances (a/2)·√m in Å."""
    return 0.5 * LATTICE_PARAMETER * lattice_scale * np.sqrt(squared)


def sinc_table(q: Float, r: Float) -> Float:
    """sin(Qr)/(Qr), shape (number of r, nq); Q in 1/Å, r in Å, Qr > 0."""
    phase = np.multiply.outer(r, q)
    return np.sin(phase) / phase


def partial_sums(library: ClusterLibrary, q: Float, lattice_scale: float = 1.0) -> PartialSums:
    """Partial sums of every cluster on `q` (1/Å); arrays of shape (n, nq)."""
    even = sinc_table(q, distances(library.even, lattice_scale))
    odd = sinc_table(q, distances(library.odd, lattice_scale))
    return PartialSums(
        library.lead_lead @ even,
        library.lead_sulfur @ odd,
        library.sulfur_sulfur @ even,
        library.lead[:, None],
        library.sulfur[:, None],
    )


def debye_waller(q: Float, b: float | Float) -> Float:
    """exp(-B s²), s = Q/4π: damping of one atom's amplitude; B in Å²."""
    return np.exp(-np.asarray(b) * (q / (4.0 * np.pi)) ** 2)


def intensity(
    sums: PartialSums,
    form: FormFactors,
    q: Float,
    b_lead: float | Float = 1.32,
    b_sulfur: float | Float = 1.49,
) -> Float:
    """I(Q) in electrons², shape of the sums; B in Å².

    Thermal motion damps the interference between different atoms only; the self terms keep
    their full strength, as they do in a measured pattern (thermal diffuse scattering).
    """
    lead2, cross, sulfur2 = form.products()
    damp_lead, damp_sulfur = debye_waller(q, b_lead), debye_waller(q, b_sulfur)
    return (
        lead2 * (sums.lead + damp_lead**2 * sums.lead_lead)
        + 2.0 * cross * damp_lead * damp_sulfur * sums.lead_sulfur
        + sulfur2 * (sums.sulfur + damp_sulfur**2 * sums.sulfur_sulfur)
    )


def ensemble_multiplicities(
    library: ClusterLibrary, mean_nm: float, dispersion: float
) -> tuple[Float, ClusterLibrary]:
    """Weights of a lognormal and the one-row library that is its average particle."""
    weights = lognormal_weights(library.diameters, mean_nm, dispersion)
    row = weights[None, :]
    return weights, ClusterLibrary(
        diameters=row @ library.diameters,
        lead=row @ library.lead,
        sulfur=row @ library.sulfur,
        even=library.even,
        odd=library.odd,
        lead_lead=row @ library.lead_lead,
        sulfur_sulfur=row @ library.sulfur_sulfur,
        lead_sulfur=row @ library.lead_sulfur,
    )
