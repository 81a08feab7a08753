"""Atomic form factors of lead and sulfur.

f0: Waasmaier & Kirfel, Acta Cryst. A51 (1995) 416; f', f'': Chantler, J. Phys. Chem. Ref. Data 24
(1995) 71; both as tabulated by xraydb.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]

HC_EV_ANGSTROM = 12398.419843320026
"""Planck constant times speed of light, eV·Å (CODATA 2018, exact)."""


@dataclass(frozen=True, slots=True)
class FormFactors:
    """Form factors on a Q grid.

    Attributes:
        lead: shape (nq,), f0 of neutral Pb, electrons.
        sulfur: shape (nq,), f0 of neutral S, electrons.
        lead_anomalous: f' + i f'' of Pb at the wavelength, electrons.
        sulfur_anomalous: the same of S.
    """

    lead: Float
    sulfur: Float
    lead_anomalous: complex = 0j
    sulfur_anomalous: complex = 0j

    def products(self) -> tuple[Float, Float, Float]:
        """|f_Pb|², Re(f_Pb f_S*), |f_S|², each of shape (nq,), electrons²."""
        lead, sulfur = self.lead_anomalous, self.sulfur_anomalous
        lead_real, sulfur_real = self.lead + lead.real, self.sulfur + sulfur.real
        return (
            lead_real**2 + lead.imag**2,
            lead_real * sulfur_real + lead.imag * sulfur.imag,
            sulfur_real**2 + sulfur.imag**2,
        )


def f0(ion: str, q: Float) -> Float:
    """f0(Q) of an atom or ion ('Pb', 'S', 'Ce'), shape (nq,), electrons; Q in 1/Å."""
    import xraydb  # noqa: PLC0415 - opens a database; only those who need it wait for it

    return np.asarray(xraydb.f0(ion, np.asarray(q, dtype=np.float64) / (4.0 * np.pi)), np.float64)


def anomalous(element: str, wavelength: float) -> complex:
    """f' + i f'' of an element at a wavelength in Å, electrons."""
    import xraydb  # noqa: PLC0415 - as above

    energy = HC_EV_ANGSTROM / wavelength
    return complex(
        np.ravel(xraydb.f1_chantler(element, energy))[0],
        np.ravel(xraydb.f2_chantler(element, energy))[0],
    )


def lead_sulfide(q: Float, wavelength: float) -> FormFactors:
    """Form factors of Pb and S on `q` (1/Å) at `wavelength` (Å)."""
    return FormFactors(
        lead=f0("Pb", q),
        sulfur=f0("S", q),
        lead_anomalous=anomalous("Pb", wavelength),
        sulfur_anomalous=anomalous("S", wavelength),
    )
