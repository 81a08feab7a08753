"""What the sample scatters: nanocrystals, liquid, air and capillary on one Q grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline

from simulated_beamline.synthesis import State
from training.background import liquid_background
from training.simulation import NanocrystalSimulator

Float = npt.NDArray[np.float64]

AREA_WINDOW = (0.99, 15.0)
"""Q range, 1/Å, over which shares of the scattered area are counted (the published grid)."""

EMPTY_BEAM_SHARE = 0.08
"""Share of air and capillary in everything that is not nanocrystals."""


class Nanocrystals(Protocol):
    """The Debye simulator, as far as the sample needs it."""

    def intensity(self, diameter_nm: float, dispersion: float) -> Float:
        """I(Q) of an ensemble, shape (nq,)."""
        ...

    def averages(self, diameter_nm: float, dispersion: float) -> tuple[float, float]:
        """Exact number and volume averages of the simulated ensemble, nm."""
        ...


@dataclass(frozen=True, slots=True)
class QAxis:
    """Equidistant Q axis on which the sample is computed: `start + step * arange(size)`, 1/Å."""

    start: float = 0.2
    step: float = 0.0028
    size: int = 5700

    def values(self) -> Float:
        """Q of every point, shape (size,), 1/Å."""
        return self.start + self.step * np.arange(self.size, dtype=np.float64)


class Sample:
    """A capillary with a reacting solution.

    Every component has mean 1 over `AREA_WINDOW`, so a state's `share` is exactly the
    nanocrystals' share of the scattered area there.

    Args:
        axis: the Q axis of everything below.
        nanocrystals: Debye simulator on that axis.
        liquid: shape (size,), scattering of the liquid on that axis, any scale.
    """

    def __init__(self, axis: QAxis, nanocrystals: Nanocrystals, liquid: Float) -> None:
        q = axis.values()
        self.axis = axis
        self._nanocrystals = nanocrystals
        self._window = (q >= AREA_WINDOW[0]) & (q <= AREA_WINDOW[1])
        self._surroundings = self._unit_area(liquid) * (1.0 - EMPTY_BEAM_SHARE)
        self._surroundings += self._unit_area(empty_beam(q)) * EMPTY_BEAM_SHARE

    def intensity(self, state: State) -> Float:
        """I(Q) at a state of the reactor, shape (size,), mean 1 over `AREA_WINDOW`."""
        if state.diameter_nm is None or state.dispersion is None:
            return self._surroundings.copy()
        crystals = self._nanocrystals.intensity(state.diameter_nm, state.dispersion)
        return state.share * self._unit_area(crystals) + (1.0 - state.share) * self._surroundings

    def truth(self, state: State) -> dict[str, object]:
        """What is true at a state: exact averages of the ensemble, dispersion, share, phase."""
        number, volume = None, None
        if state.diameter_nm is not None and state.dispersion is not None:
            number, volume = self._nanocrystals.averages(state.diameter_nm, state.dispersion)
        return {
            "diameter_nm": number,
            "diameter_volume_nm": volume,
            "dispersion": state.dispersion,
            "nanocrystal_fraction": state.share,
            "phase": state.phase,
        }

    def _unit_area(self, intensity: Float) -> Float:
        return intensity / float(intensity[self._window].mean())


def empty_beam(q: Float) -> Float:
    """Air and a glass capillary, shape of q, any scale.

    Air falls like a light atom's squared form factor; fused silica adds its broad first
    diffraction peak at 1.52 1/Å (Wright, J. Non-Cryst. Solids 179, 84 (1994)) over a flat floor.
    """
    air = 1.0 / (1.0 + (q / 2.0) ** 2) ** 2
    glass = np.exp(-0.5 * ((q - 1.52) / 0.25) ** 2) + 0.25 * np.exp(-0.5 * ((q - 5.2) / 0.7) ** 2)
    return air + 0.5 * glass + 0.1


class DebyeNanocrystals:
    """The Debye simulator on an axis `COARSER` times coarser, brought onto `axis` by a spline.

    Pair distances up to 2 r_max band-limit the pattern, so the spline's error, (2 r_max ΔQ)⁴ / 384
    of the fastest component, stays below 1e-3 of an already tiny part up to 10 nm, while a frame
    costs a third of the time.

    Args:
        axis: Q axis of the patterns.
        wavelength: X-ray wavelength, Å.
        largest_nm: largest cluster; must hold the tail of the lognormal.
    """

    COARSER = 3

    def __init__(self, axis: QAxis, wavelength: float, largest_nm: float) -> None:
        self._q = axis.values()
        # One step beyond the last point, so that the spline never has to extrapolate.
        size = -(-axis.size // self.COARSER) + 1
        self._coarse = QAxis(axis.start, axis.step * self.COARSER, size).values()
        self._simulator = NanocrystalSimulator(
            self._coarse, wavelength=wavelength, max_diameter_nm=largest_nm
        )

    def intensity(self, diameter_nm: float, dispersion: float) -> Float:
        """I(Q) of an ensemble, shape (axis.size,), any scale."""
        coarse = self._simulator.intensity(diameter_nm, dispersion)
        return np.asarray(CubicSpline(self._coarse, coarse)(self._q), dtype=np.float64)

    def averages(self, diameter_nm: float, dispersion: float) -> tuple[float, float]:
        """Exact number and volume averages over the clusters of the ensemble, nm."""
        return self._simulator.averages(diameter_nm, dispersion)


def reacting_sample(
    axis: QAxis, wavelength: float, seed: int, plateau_diameter_nm: float
) -> Sample:
    """Assemble the sample from the Debye simulator and a measured-like liquid.

    Args:
        axis: Q axis.
        wavelength: X-ray wavelength, Å.
        seed: which liquid is drawn.
        plateau_diameter_nm: largest mean diameter that will be asked for, nm.
    """
    liquid = liquid_background(axis.values(), np.random.default_rng(seed))
    # 1.6 means hold a lognormal of 10 % dispersion to 4.7 of its widths.
    crystals = DebyeNanocrystals(axis, wavelength, 1.6 * plateau_diameter_nm)
    return Sample(axis, crystals, liquid)
