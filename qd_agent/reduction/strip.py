"""Strip detectors: one channel for each step of 2θ or Q, so that there is nothing to integrate."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qd_agent.core.errors import BadFrame, Fatal
from qd_agent.core.frame import Frame
from qd_agent.core.pattern import RawPattern, q_from_two_theta
from qd_agent.reduction.counting import CountReducer
from qd_agent.reduction.counts import Counts, Integrated
from qd_agent.reduction.darks import Darks
from qd_agent.reduction.images import is_real, read_file, read_image
from qd_agent.reduction.masking import Bool, invalid_pixels, load_mask
from qd_agent.reduction.settings import DETECTION, StripSettings

Float = npt.NDArray[np.float64]


class StripReducer(CountReducer):
    """Brings strips onto the published grid. Use it from one thread at a time.

    The file that holds the axis is this detector's geometry. Sigma is that of counting statistics,
    as for images, unless `counts` says otherwise.
    """

    _WHAT = "channels"

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
        self._in_use: Bool = np.ones(axis.shape, dtype=np.bool_) if mask is None else ~mask
        super().__init__(settings, Darks(settings, axis.shape, axes=1))

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

    def _used(self, counts: Float) -> Bool:
        return self._in_use

    def _integrate(self, counts: Counts) -> Integrated:
        good = self._in_use & ~counts.invalid
        seen = self._order[good[self._order]]  # in the order of their Q
        values, dark = counts.values, counts.dark
        signal, variance = values[seen], np.maximum(values[seen], 0.0)
        if dark is not None:
            signal, variance = signal - dark.mean[seen], variance + dark.variance[seen]
        total, spread = float(signal.sum()), float(np.sqrt(variance.sum()))
        if not total > (DETECTION * spread if self._settings.counts else 0.0):
            raise BadFrame(
                f"the strip holds {total:.4g} counts above its dark, which is not {DETECTION:g} "
                f"times their uncertainty of {spread:.3g}: no scattering"
            )
        if not self._settings.counts:
            return Integrated(RawPattern(self._q[seen], signal / counts.monitor))
        # A channel that counted nothing is not known perfectly.
        floor = float(variance[variance > 0].min(initial=np.inf))
        sigma = np.sqrt(np.maximum(variance, floor if np.isfinite(floor) else 0.0))
        return Integrated(
            RawPattern(self._q[seen], signal / counts.monitor, sigma / counts.monitor)
        )


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
