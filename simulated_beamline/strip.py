"""A strip detector on an arc around the sample, one channel for each step of 2θ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from simulated_beamline.layout import Pixels
from simulated_beamline.sample import QAxis

Float = npt.NDArray[np.float64]

CHANNELS = 5120
"""Four modules of 1280 channels."""
FIRST_DEG, STEP_DEG = 0.9, 0.005
"""2θ of the first channel, and from one to the next: Q = 0.54 to 15.5 1/Å at 0.1839 Å."""
COUNTS = 200.0
"""Counts of a channel for one count of a pixel: a strip is long."""


def two_theta() -> Float:
    """2θ of every channel, degrees, shape (CHANNELS,)."""
    return FIRST_DEG + STEP_DEG * np.arange(CHANNELS, dtype=np.float64)


class StripProjector:
    """Gives the counts that each channel expects of a pattern.

    Attributes:
        q: Q of every channel, shape (CHANNELS,), 1/Å.

    Args:
        wavelength: Å.
        axis: Q axis of the patterns.
    """

    def __init__(self, wavelength: float, axis: QAxis) -> None:
        self.q: Float = 4.0 * np.pi * np.sin(np.radians(two_theta()) / 2.0) / wavelength
        self._axis = axis.values()

    def image(self, intensity: Float) -> Float:
        """Expected signal of every channel, in units of `intensity` times COUNTS."""
        return np.interp(self.q, self._axis, intensity) * COUNTS


def strip_pixels(seed: int) -> Pixels:
    """Draw the detector's faults: one channel in a thousand is dead, and the mask knows it."""
    rng = np.random.default_rng([seed, 0xBAD])
    none = np.zeros(CHANNELS, dtype=np.bool_)
    dead = rng.random(CHANNELS) < 1e-3
    return Pixels(
        gap=none,
        transmission=np.ones(CHANNELS, dtype=np.float32),
        dead=dead,
        hot=none,
        masked=dead,
        dark_rate=np.full(CHANNELS, 0.5, dtype=np.float32),
    )


def write_axis(folder: Path, masked: npt.NDArray[np.bool_]) -> None:
    """Write `two_theta.npy` (degrees) and then `mask.npy` (uint8, 1 = masked)."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "two_theta.npy", two_theta())
    np.save(folder / "mask.npy", masked.astype(np.uint8))
