"""What is taken from the counts (dark) and what divides them (monitor)."""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qd_agent.core.errors import BadFrame
from qd_agent.reduction.masking import Bool

Float = npt.NDArray[np.float64]

RUNS_KEPT = 16
"""Runs whose darks are held; beyond it the one not used longest is let go."""


@dataclass(frozen=True, slots=True)
class Dark:
    """A dark to subtract, in the orientation of the stored frames.

    Attributes:
        mean: shape (height, width), counts of one exposure.
        variance: shape (height, width), variance of that mean, counting statistics.
        left_out: shape (height, width), True where no dark frame had a count, and where the
            pixel is hot.
        sha256: of the mean, as little-endian float64 with NaN where left out.
    """

    mean: Float
    variance: Float
    left_out: Bool
    sha256: str


def dark_of(total: Float, frames: npt.NDArray[np.uint32], *, without_hot: bool) -> Dark:
    """Make the dark from the sum of dark frames and the number of frames behind each pixel.

    Counting statistics: the variance of the mean of n frames is their sum / n². A hot pixel's dark
    can be subtracted, but its noise stays and would outweigh the hundreds of good pixels in its
    bin, so that it is better left out.
    """
    missing = frames == 0
    number = np.maximum(frames, 1)
    mean = total / number
    variance = np.maximum(total, 0.0) / number.astype(np.float64) ** 2
    left_out = missing | hot_pixels(mean, ~missing) if without_hot else missing
    named = np.where(left_out, np.nan, mean).astype("<f8")
    return Dark(mean, variance, left_out, hashlib.sha256(named.tobytes()).hexdigest())


def hot_pixels(mean: Float, valid: Bool) -> Bool:
    """Find the pixels that stand out of a dark image, same shape.

    They exceed the median by more than 10 counts and 20 median absolute deviations; what is left
    in adds less noise than the scattering does.
    """
    values = mean[valid]
    if not values.size:
        return np.zeros(mean.shape, dtype=np.bool_)
    median = float(np.median(values))
    spread = float(np.median(np.abs(values - median)))
    return (mean > median + max(10.0, 20.0 * spread)) & valid


class DarkStream:
    """Running mean of each run's dark frames (not safe for use by several threads at once)."""

    def __init__(self, *, without_hot: bool = True) -> None:
        """Keep nothing yet; `without_hot` leaves hot pixels out of every dark."""
        self._without_hot = without_hot
        self._sums: OrderedDict[str, tuple[Float, npt.NDArray[np.uint32]]] = OrderedDict()
        self._made: dict[str, Dark] = {}
        self._latest: dict[str, float] = {}

    def add(self, run_uid: str, counts: Float, invalid: Bool, when: float = 0.0) -> None:
        """Add one dark frame: counts of shape (height, width), and where they do not count.

        `when` it was taken is in UTC epoch s.

        Raises:
            BadFrame: its shape differs from the run's earlier dark frames.
        """
        if run_uid not in self._sums:
            empty = np.zeros(counts.shape), np.zeros(counts.shape, dtype=np.uint32)
            self._sums[run_uid] = empty
            while len(self._sums) > RUNS_KEPT:
                self.forget(next(iter(self._sums)))
        total, frames = self._sums[run_uid]
        if total.shape != counts.shape:
            raise BadFrame(
                f"this dark frame has shape {counts.shape}, the run's earlier ones {total.shape}"
            )
        total += np.where(invalid, 0.0, counts)
        frames += ~invalid
        self._made.pop(run_uid, None)
        self._latest[run_uid] = max(when, self._latest.get(run_uid, when))

    def latest(self, run_uid: str) -> float | None:
        """Give when the run's latest dark frame was taken, UTC epoch s; None without any."""
        return self._latest.get(run_uid)

    def dark(self, run_uid: str) -> Dark | None:
        """Give the run's dark, or None when it has had no dark frame."""
        if run_uid not in self._sums:
            return None
        if run_uid not in self._made:
            self._made[run_uid] = dark_of(*self._sums[run_uid], without_hot=self._without_hot)
        self._sums.move_to_end(run_uid)
        return self._made[run_uid]

    def forget_beginning(self, prefix: str) -> None:
        """Let go of the dark frames of all that begins with `prefix`."""
        for name in [name for name in self._sums if name.startswith(prefix)]:
            self.forget(name)

    def forget(self, run_uid: str) -> None:
        """Let go of a run's dark frames; a run without any is fine."""
        for kept in (self._sums, self._made, self._latest):
            kept.pop(run_uid, None)


def monitor_of(
    readings: Mapping[str, float], key: str | None, declared: float | None = None
) -> float | None:
    """Give the monitor that divides the counts, the declared one first; None without any.

    Raises:
        BadFrame: the reading is zero, negative or not a number (beam off, counter broken).
    """
    if declared is not None:
        name, value = "at its declared path", declared
    elif key is None or key not in readings:
        return None
    else:
        name, value = f"'{key}'", float(readings[key])
    if not math.isfinite(value) or value <= 0.0:
        raise BadFrame(
            f"the monitor {name} reads {value:g}: the beam was off or its counter broken"
        )
    return value
