"""Strip detectors: one channel for each step of 2θ or Q, so that there is nothing to integrate."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from qd_agent.core.errors import BadFrame, Fatal
from qd_agent.core.frame import Frame, FrameKey
from qd_agent.core.pattern import Pattern, RawPattern, normalize_area, q_from_two_theta, resample
from qd_agent.reduction.corrections import Dark, monitor_of
from qd_agent.reduction.darks import Darks, check_dark
from qd_agent.reduction.images import is_real, read_file, read_image
from qd_agent.reduction.masking import Bool, invalid_pixels, load_mask
from qd_agent.reduction.settings import DETECTION, StripSettings

Float = npt.NDArray[np.float64]


class StripReducer:
    """Brings strips onto the published grid. Use it from one thread at a time.

    Attributes:
        poni_sha256: of the file that holds the axis: it is this detector's geometry.
        mask_sha256: of the mask file, '' without one.
        wavelength: Å, or None where the axis is Q.
        wavelength_place: where that stands, for messages.
    """

    def __init__(self, settings: StripSettings) -> None:
        """Read axis, mask and dark.

        Raises:
            Fatal: one of them cannot be used; the message names it.
        """
        self._settings = settings
        self.wavelength = settings.wavelength if settings.unit == "2th_deg" else None
        self.wavelength_place = f"the settings of the axis {settings.axis}"
        axis, self.poni_sha256 = _read_axis(settings)
        mask, self.mask_sha256 = load_mask(settings.mask, axes=1)
        if mask is not None and mask.shape != axis.shape:
            raise Fatal(
                f"reduction: the mask {settings.mask} has {mask.size} channels, the axis "
                f"{settings.axis} {axis.size}"
            )
        self._order = np.argsort(axis)
        self._q = _to_q(axis, settings)
        self._used: Bool = np.ones(axis.shape, dtype=np.bool_) if mask is None else ~mask
        self._darks = Darks(settings, axis.shape, axes=1)

    def reduce(self, frame: Frame) -> Pattern:
        """Bring one strip onto the published grid, area-normalized.

        Sigma is that of counting statistics, as for images, unless `counts` says otherwise. Flags:
        dark_missing, dark_stale, monitor_missing, saturated_pixels.

        Raises:
            BadFrame: wrong shape or dtype, mostly invalid, saturated, monitor not positive, or no
                more than its dark.
        """
        counts, invalid = self._counts(frame)
        flags = self._darks.flags(frame.reference)
        dark = self._darks.of(frame.reference.key)
        if dark is not None:
            check_dark(dark, counts)
            invalid = invalid | dark.left_out
        saturated = self._saturated(frame, invalid)
        if saturated is not None:
            invalid = invalid | saturated
            flags.append("saturated_pixels")
        reference = frame.reference
        declared = reference.declared.values.get("monitor")
        monitor = monitor_of(reference.readings, self._settings.monitor_key, declared)
        if monitor is None and self._settings.monitor_key is not None:
            flags.append("monitor_missing")
        seen = self._seen(invalid)
        raw = self._pattern(counts, dark, seen, 1.0 if monitor is None else monitor)
        return replace(
            normalize_area(resample(raw)), flags=tuple(flags), resolution=self._settings.resolution
        )

    def add_dark(self, frame: Frame) -> None:
        """Add a dark frame to the running mean of its run.

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

    def _counts(self, frame: Frame) -> tuple[Float, Bool]:
        image, key = frame.image, frame.reference.key.data_key
        if not is_real(image) or image.dtype.kind == "b":
            raise BadFrame(f"the strip of '{key}' holds no counts: its dtype is {image.dtype}")
        if image.shape != self._q.shape:
            raise BadFrame(
                f"the strip of '{key}' has shape {image.shape}, its axis {self._settings.axis} has "
                f"{self._q.size} channels"
            )
        return image.astype(np.float64), invalid_pixels(image)

    def _saturated(self, frame: Frame, invalid: Bool) -> Bool | None:
        limit = self._settings.saturation
        if limit is None:
            return None
        image: npt.NDArray[Any] = frame.image
        saturated: Bool = (image >= limit) & self._used & ~invalid
        share = np.count_nonzero(saturated) / np.count_nonzero(self._used)
        if share > self._settings.max_saturated_fraction:
            raise BadFrame(
                f"{share:.1%} of the channels are saturated (at or above {limit:g} counts); "
                f"{self._settings.max_saturated_fraction:.1%} are allowed: shorten the exposure"
            )
        return saturated if saturated.any() else None

    def _seen(self, invalid: Bool) -> npt.NDArray[np.intp]:
        """Give the channels that count, in the order of their Q."""
        good = self._used & ~invalid
        share = 1.0 - np.count_nonzero(good) / np.count_nonzero(self._used)
        if share > self._settings.max_invalid_fraction:
            raise BadFrame(f"{share:.1%} of the channels hold no count; the frame is broken")
        return self._order[good[self._order]]

    def _pattern(
        self, counts: Float, dark: Dark | None, seen: npt.NDArray[np.intp], monitor: float
    ) -> RawPattern:
        signal, variance = counts[seen], np.maximum(counts[seen], 0.0)
        if dark is not None:
            signal, variance = signal - dark.mean[seen], variance + dark.variance[seen]
        total, spread = float(signal.sum()), float(np.sqrt(variance.sum()))
        if not total > (DETECTION * spread if self._settings.counts else 0.0):
            raise BadFrame(
                f"the strip holds {total:.4g} counts above its dark, which is not {DETECTION:g} "
                f"times their uncertainty of {spread:.3g}: no scattering"
            )
        if not self._settings.counts:
            return RawPattern(self._q[seen], signal / monitor)
        # A channel that counted nothing is not known perfectly.
        floor = float(variance[variance > 0].min(initial=np.inf))
        sigma = np.sqrt(np.maximum(variance, floor if np.isfinite(floor) else 0.0))
        return RawPattern(self._q[seen], signal / monitor, sigma / monitor)


def _read_axis(settings: StripSettings) -> tuple[Float, str]:
    """Give the axis, shape (channels,), and the sha256 of its file."""
    path = settings.axis
    if path.suffix.lower() == ".npy":
        image, sha256 = read_image(path, "axis", axes=1)
        axis = image.astype(np.float64)
    else:
        content, sha256 = read_file(path, "axis", largest=2**26)
        try:
            lines = content.decode().splitlines()
            axis = np.loadtxt(lines or ["nothing"], usecols=0, ndmin=1, dtype=np.float64)
        except (ValueError, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split())[:120]
            raise Fatal(f"reduction: the axis {path} is no column of numbers: {reason}") from error
    steps = np.diff(axis)
    steady = bool((steps > 0).all() or (steps < 0).all())  # false for NaN
    if axis.size < 100 or not np.isfinite(axis).all() or not steady:
        raise Fatal(
            f"reduction: the axis {path} is no steadily rising or falling row of at least 100 "
            "numbers"
        )
    return axis, sha256


def _to_q(axis: Float, settings: StripSettings) -> Float:
    if settings.unit == "q_A^-1":
        return axis
    if settings.unit == "q_nm^-1":
        return axis / 10.0
    if settings.wavelength is None:  # refused by the settings already
        raise Fatal(f"reduction: 2θ of {settings.axis} needs a wavelength")
    return q_from_two_theta(axis, settings.wavelength)
