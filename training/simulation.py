"""Patterns of PbS nanocrystals on any Q grid: the physics that the simulated beamline uses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from qd_agent.scattering.ensemble import averages, lognormal_weights
from qd_agent.scattering.form_factors import lead_sulfide
from qd_agent.scattering.forward import ClusterLibrary, intensity
from training.debye import build_library, cell_widths, partial_sums
from training.shapes import Shape

Float = npt.NDArray[np.float64]


class NanocrystalSimulator:
    """Debye patterns of lognormal ensembles of PbS clusters."""

    def __init__(
        self,
        q: npt.ArrayLike,
        wavelength: float = 0.1839,
        max_diameter_nm: float = 12.0,
        shape: Shape = Shape.SPHERE,
        elongation: float = 0.0,
    ) -> None:
        """Prepare a Q grid.

        Args:
            q: shape (nq,), 1/Å, increasing and positive; any spacing.
            wavelength: Å; sets f' and f''.
            max_diameter_nm: largest cluster; the tail of a lognormal beyond it is cut off, and
                `averages` are those of what is left.
            shape: of all clusters; their diameter is that of the sphere of equal volume.
            elongation: relative lengthening of a body diagonal, volume kept.

        Raises:
            ValueError: `q` is not an increasing sequence of positive numbers, or `elongation` is
                beyond ±0.1.
        """
        self.q: Float = np.array(q, dtype=np.float64)
        if self.q.ndim != 1 or self.q.size < 1 or not (np.diff(self.q) > 0).all():
            raise ValueError("q must be one increasing sequence of numbers, in 1/Å")
        if not self.q[0] > 0 or not np.isfinite(self.q).all():
            raise ValueError(f"q must be positive and finite, it starts at {self.q[0]:g} 1/Å")
        self._form = lead_sulfide(self.q, wavelength)
        self._library = build_library(max_diameter_nm, shape, elongation)

    def intensity(
        self,
        diameter_nm: float,
        dispersion: float,
        lattice_scale: float = 1.0,
        b_lead: float = 1.32,
        b_sulfur: float = 1.49,
    ) -> Float:
        """Give I(Q) of the nanocrystals alone, shape (nq,), scaled to mean 1 over q.

        `diameter_nm` is the mean of the continuous lognormal in particle number and `dispersion`
        its relative standard deviation; `averages` tells what they come to on the cluster grid.
        `lattice_scale` is relative to bulk (5.934 Å), B in Å². No polarization, no background.
        """
        mean_particle = average_particle(self._library, self._weights(diameter_nm, dispersion))
        sums = partial_sums(mean_particle, self.q, lattice_scale)
        pattern = intensity(sums, self._form, self.q, b_lead, b_sulfur)[0]
        return pattern / pattern.mean()

    def averages(self, diameter_nm: float, dispersion: float) -> tuple[float, float]:
        """(number average, volume-weighted average) in nm, exact over the cluster grid."""
        weights = self._weights(diameter_nm, dispersion)
        number, volume = averages(self._library.diameters, weights)
        return float(number), float(volume)

    def _weights(self, diameter_nm: float, dispersion: float) -> Float:
        diameters = self._library.diameters
        weights = lognormal_weights(diameters, diameter_nm, dispersion) * cell_widths(diameters)
        return weights / weights.sum()


def average_particle(library: ClusterLibrary, weights: Float) -> ClusterLibrary:
    """Library of one row: the average over clusters with number shares `weights`, shape (n,)."""
    row = weights[None, :]
    return replace(
        library,
        diameters=row @ library.diameters,
        lead=row @ library.lead,
        sulfur=row @ library.sulfur,
        lead_lead=row @ library.lead_lead,
        sulfur_sulfur=row @ library.sulfur_sulfur,
        lead_sulfur=row @ library.lead_sulfur,
    )
