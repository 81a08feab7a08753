"""From a pattern I(Q) to the counts that a detector pixel expects, and back to counted frames."""

from __future__ import annotations

from typing import Protocol, cast

import numpy as np
import numpy.typing as npt
from pyFAI.detectors import detector_factory
from pyFAI.integrator.azimuthal import AzimuthalIntegrator

from simulated_beamline.layout import NO_DATA, Geometry, Mask, Pixels
from simulated_beamline.sample import QAxis

Float = npt.NDArray[np.float64]
Image = npt.NDArray[np.uint32]

POLARIZATION = 0.99
"""Degree of linear, horizontal polarization of the beam (usual at a synchrotron)."""


class _Integrator(Protocol):
    """What is used of pyFAI's integrator."""

    def center_array(self, shape: tuple[int, int], unit: str) -> Float: ...
    def solidAngleArray(self, shape: tuple[int, int]) -> Float: ...  # noqa: N802 - pyFAI's name
    def polarization(self, shape: tuple[int, int], factor: float) -> Float: ...


class Projector:
    """Projects patterns onto one detector; everything that is the same for all frames is kept.

    Attributes:
        q: Q at the centre of every pixel, shape of the detector, 1/Å.

    Args:
        geometry: where the detector stands.
        axis: Q axis of the patterns; must reach every pixel of interest.
    """

    def __init__(self, geometry: Geometry, axis: QAxis) -> None:
        integrator = _integrator(geometry)
        shape = geometry.shape
        self.q: Float = np.asarray(integrator.center_array(shape, unit="q_A^-1"), np.float64)
        solid_angle = np.asarray(integrator.solidAngleArray(shape), np.float64)
        self._factor: Float = solid_angle * integrator.polarization(shape, factor=POLARIZATION)
        position = np.clip((self.q - axis.start) / axis.step, 0.0, axis.size - 1.001)
        self._left = position.astype(np.int32)
        self._weight = (position - self._left).astype(np.float32)

    def image(self, intensity: Float) -> Float:
        """Expected signal of every pixel, shape of the detector, in units of `intensity`.

        Args:
            intensity: shape (axis.size,), interpolated linearly at the pixel's centre, then
                multiplied by the pixel's solid angle (1 on the beam) and the polarization factor.
        """
        steps = np.append(np.diff(intensity), 0.0)
        return (intensity[self._left] + self._weight * steps[self._left]) * self._factor


def count(
    expected: Float | None, pixels: Pixels, rng: np.random.Generator, *, no_data: Mask | None = None
) -> Image:
    """Count photons: Poisson noise, dark counts and the detector's faults.

    Args:
        expected: mean counts of every pixel from the beam, or None with the shutter closed.
        pixels: the faults.
        rng: source of the noise.
        no_data: mask of further pixels that carry `NO_DATA`, or None.
    """
    mean = pixels.dark_rate if expected is None else expected * pixels.transmission
    if expected is not None:
        mean = mean + pixels.dark_rate
    image = np.minimum(rng.poisson(mean), NO_DATA - 1).astype(np.uint32)
    image[pixels.dead] = 0
    image[pixels.gap] = NO_DATA
    if no_data is not None:
        image[no_data] = NO_DATA
    return image


def _integrator(geometry: Geometry) -> _Integrator:
    config: dict[str, object] = {"orientation": 3}
    if geometry.binning != 1:
        config |= {"pixel1": geometry.pixel_m, "pixel2": geometry.pixel_m}
        config["max_shape"] = geometry.shape
    name = "Pilatus1M" if geometry.binning == 1 else "Detector"
    integrator = AzimuthalIntegrator(
        dist=geometry.distance_m,
        poni1=geometry.poni1_m,
        poni2=geometry.poni2_m,
        detector=detector_factory(name, config),
        wavelength=geometry.wavelength * 1e-10,
    )
    return cast("_Integrator", integrator)
