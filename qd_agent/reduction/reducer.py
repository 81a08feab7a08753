"""The reducer: one frame in, one area-normalized pattern on the published grid out."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from qd_agent.core.errors import BadFrame, Fatal
from qd_agent.core.frame import Frame, FrameKey
from qd_agent.core.pattern import Pattern, normalize_area, resample
from qd_agent.reduction.azimuthal import Integrator, Sums
from qd_agent.reduction.corrections import monitor_of
from qd_agent.reduction.darks import Darks, check_dark
from qd_agent.reduction.geometry import Shape, load_geometry
from qd_agent.reduction.images import is_real
from qd_agent.reduction.masking import Bool, invalid_pixels, load_mask, static_mask
from qd_agent.reduction.settings import DETECTION, ReductionSettings

Float = npt.NDArray[np.float64]

_SHAPES_KEPT = 2
"""Sparse matrices held when neither PONI nor mask fixes the image's shape."""


class AzimuthalReducer:
    """Integrates frames. Use it from one thread at a time.

    Attributes:
        poni_sha256: of the PONI file.
        mask_sha256: of the mask file, '' without one.
        wavelength: Å, as used.
        wavelength_place: where that stands, for messages.
    """

    def __init__(self, settings: ReductionSettings) -> None:
        """Open PONI, mask and dark, and build the sparse matrix where the shape is known.

        Raises:
            Fatal: one of them cannot be used; the message names it.
        """
        self._settings = settings
        self._geometry = load_geometry(settings.poni, settings.wavelength)
        self.poni_sha256 = self._geometry.sha256
        self.wavelength: float | None = self._geometry.wavelength
        self.wavelength_place = f"the PONI file {settings.poni}"
        self._mask, self.mask_sha256 = load_mask(settings.mask)
        self._shape = self._agreed_shape()
        self._darks = Darks(settings, self._shape)
        self._integrators: OrderedDict[Shape, Integrator] = OrderedDict()
        if self._shape is not None:
            self._integrator(self._shape)

    def reduce(self, frame: Frame) -> Pattern:
        """Integrate one frame onto the published grid, area-normalized.

        Sigma is the standard uncertainty from counting statistics: variance = raw counts + that
        of the dark, summed over each bin. Without pixel splitting (default) the points are
        independent; with it, sigma is still right for each point on its own, but neighbours share
        counts. Flags: dark_missing, dark_stale, monitor_missing,
        saturated_pixels.

        Raises:
            BadFrame: wrong shape or dtype, no counts, mostly invalid, saturated, monitor not
                positive, or no more than its dark.
        """
        counts, invalid = self._counts(frame)
        integrator = self._integrator((counts.shape[0], counts.shape[1]))
        flags = self._darks.flags(frame.reference)
        dark = self._darks.of(frame.reference.key)
        if dark is not None:
            check_dark(dark, counts)
            invalid = invalid | dark.left_out
        saturated = self._saturated(frame, integrator, invalid)
        if saturated is not None:
            invalid = invalid | saturated
            flags.append("saturated_pixels")
        self._check_invalid(frame, invalid & integrator.used, integrator.used)
        reference = frame.reference
        declared = reference.declared.values.get("monitor")
        monitor = monitor_of(reference.readings, self._settings.monitor_key, declared)
        if monitor is None and self._settings.monitor_key is not None:
            flags.append("monitor_missing")
        sums = integrator.sums(counts, invalid, dark)
        _check_signal(sums)
        raw = integrator.pattern(sums, 1.0 if monitor is None else monitor)
        return replace(
            normalize_area(resample(raw)),
            flags=tuple(flags),
            resolution=self._settings.resolution,
        )

    def add_dark(self, frame: Frame) -> None:
        """Add a dark frame to the running mean of its run, which later frames subtract.

        Dark frames are taken to have the exposure time of the frames. With `dark: none` or a
        dark file this does nothing.

        Raises:
            BadFrame: wrong shape or dtype.
        """
        if self._darks.wanted:
            counts, invalid = self._counts(frame)
            self._darks.add(frame.reference, counts, invalid)

    def forget_run(self, run_uid: str) -> None:
        """Let go of a run's dark frames; unknown runs are fine."""
        self._darks.forget(run_uid)

    def dark_hash(self, key: FrameKey) -> str:
        """Give the sha256 of the dark that this frame has subtracted; '' for none."""
        return self._darks.hash_of(key)

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

    def _saturated(self, frame: Frame, integrator: Integrator, invalid: Bool) -> Bool | None:
        """Give the saturated pixels that matter, or None when there are none.

        The largest value of an unsigned dtype means 'no data', unless the limit is that value.
        """
        limit = self._settings.saturation
        if limit is None:
            return None
        image: npt.NDArray[Any] = frame.image
        largest = image.dtype.kind == "u" and limit == np.iinfo(image.dtype).max
        over = (image >= limit) & integrator.used
        saturated = over if largest else over & ~invalid
        number = int(np.count_nonzero(saturated))
        share = number / int(np.count_nonzero(integrator.used))
        if share > self._settings.max_saturated_fraction:
            raise BadFrame(
                f"{share:.1%} of the unmasked pixels are saturated (at or above {limit:g} counts); "
                f"{self._settings.max_saturated_fraction:.1%} are allowed: shorten the exposure"
            )
        return saturated if number else None

    def _check_invalid(self, frame: Frame, invalid: Bool, used: Bool) -> None:
        share = np.count_nonzero(invalid) / np.count_nonzero(used)
        if share > self._settings.max_invalid_fraction:
            raise BadFrame(
                f"{share:.1%} of the unmasked pixels hold no count "
                f"({_MEANING[frame.image.dtype.kind]}, saturated, or without a dark); the frame or "
                "its dark is broken"
            )


_MEANING = {
    "u": "the largest value of their dtype",
    "i": "negative",
    "f": "NaN or infinite",
}


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
