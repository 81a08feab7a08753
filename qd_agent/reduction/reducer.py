"""The reducer: one frame in, one area-normalized pattern on the published grid out."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import numpy.typing as npt

from qd_agent.core.errors import BadFrame, Fatal
from qd_agent.core.frame import Frame
from qd_agent.reduction.azimuthal import Integrator, Sums
from qd_agent.reduction.counting import CountReducer
from qd_agent.reduction.counts import Counts, Integrated
from qd_agent.reduction.darks import Darks
from qd_agent.reduction.geometry import Shape, load_geometry
from qd_agent.reduction.images import is_real
from qd_agent.reduction.masking import Bool, invalid_pixels, load_mask, static_mask
from qd_agent.reduction.settings import DETECTION, ReductionSettings

Float = npt.NDArray[np.float64]

_SHAPES_KEPT = 2
"""Sparse matrices held when neither PONI nor mask fixes the image's shape."""


class AzimuthalReducer(CountReducer):
    """Integrates frames. Use it from one thread at a time."""

    def __init__(self, settings: ReductionSettings) -> None:
        """Open PONI, mask and dark, and build the sparse matrix where the shape is known.

        Raises:
            Fatal: one of them cannot be used; the message names it.
        """
        self._settings = settings
        self._geometry = load_geometry(settings.poni, settings.wavelength)
        self.poni_sha256 = self._geometry.sha256
        self.wavelength = self._geometry.wavelength
        self.wavelength_place = f"the PONI file {settings.poni}"
        self._mask, self.mask_sha256 = load_mask(settings.mask)
        self._shape = self._agreed_shape()
        super().__init__(settings, Darks(settings, self._shape))
        self._integrators: OrderedDict[Shape, Integrator] = OrderedDict()
        if self._shape is not None:
            self._integrator(self._shape)

    def _agreed_shape(self) -> Shape | None:
        stated = self._geometry.shape
        if self._mask is None:
            return stated
        shape: Shape = (self._mask.shape[0], self._mask.shape[1])
        if stated is not None and stated != shape:
            raise Fatal(
                f"reduction: the mask {self._settings.mask} has shape {shape}, the detector of "
                f"the PONI file {self._settings.poni} {stated}"
            )
        return shape

    def _counts(self, frame: Frame) -> tuple[Float, Bool]:
        """Give the image as float64, a copy of ours, and where it has no count."""
        image = frame.image
        key = frame.reference.key.data_key
        if not is_real(image) or image.dtype.kind == "b":
            raise BadFrame(f"the image of '{key}' holds no counts: its dtype is {image.dtype}")
        if image.ndim != 2 or (self._shape is not None and image.shape != self._shape):
            raise BadFrame(
                f"the image of '{key}' has shape {image.shape}, but {self._shape_source()}"
            )
        invalid = invalid_pixels(image)
        return image.astype(np.float64, order="C"), invalid

    def _shape_source(self) -> str:
        if self._shape is None:
            return "a frame has two axes (height, width)"
        if self._mask is not None:
            return f"the mask {self._settings.mask} has {self._shape}"
        return f"the detector of the PONI file {self._settings.poni} has {self._shape}"

    def _integrator(self, shape: Shape) -> Integrator:
        """Give the matrix for this shape, building it at most once per shape held."""
        if shape not in self._integrators:
            masked = static_mask(self._geometry, self._mask, shape, self._settings.orientation)
            self._integrators[shape] = Integrator(self._geometry, masked, self._settings)
            while len(self._integrators) > _SHAPES_KEPT:
                self._integrators.popitem(last=False)
        return self._integrators[shape]

    def _used(self, counts: Float) -> Bool:
        return self._integrator((counts.shape[0], counts.shape[1])).used

    def _integrate(self, counts: Counts) -> Integrated:
        integrator = self._integrator((counts.values.shape[0], counts.values.shape[1]))
        sums = integrator.sums(counts.values, counts.invalid, counts.dark)
        _check_signal(sums)
        raw = integrator.pattern(sums, counts.monitor)
        shift = integrator.centre_shift(sums)
        return Integrated(raw) if shift is None else Integrated(raw, shift.flags, shift.quality)


def _check_signal(sums: Sums) -> None:
    """Refuse frames without scattering: noise, once normalized, looks like a pattern."""
    signal, variance = float(sums.signal.sum()), float(sums.variance.sum())
    if signal == 0.0 and variance == 0.0:
        raise BadFrame("every unmasked pixel is zero: the shutter was closed or the detector idle")
    if not signal > DETECTION * float(np.sqrt(variance)):
        raise BadFrame(
            f"the frame holds {signal:.4g} counts above its dark, which is not "
            f"{DETECTION:g} times their uncertainty of {np.sqrt(variance):.3g}: no scattering"
        )
