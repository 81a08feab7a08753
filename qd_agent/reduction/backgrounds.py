"""The backgrounds of one detector: what the runs that hold no sample scatter."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from qd_agent.core.errors import BadFrame
from qd_agent.core.frame import FrameReference
from qd_agent.core.pattern import RawPattern
from qd_agent.reduction.corrections import Dark
from qd_agent.reduction.darks import NAMED, kept_name, run_prefix
from qd_agent.reduction.masking import Bool
from qd_agent.reduction.settings import DETECTION

Float = npt.NDArray[np.float64]

RUNS_KEPT = 16
"""Runs whose background is held, a few ten kilobytes each; beyond it the one not used longest."""

TOO_LARGE = 0.02
"""A background that exceeds the frame by more than this share of the frame, beyond what counting
explains, is none of this frame: another capillary, another monitor, another scale."""


@dataclass(frozen=True, slots=True)
class Background:
    """What is to be subtracted from a frame's pattern.

    Attributes:
        pattern: by the monitor, as the frame's.
        time: of its latest frame, UTC epoch s.
        sha256: of Q and intensity, as little-endian float64.
        by_monitor: whether there was a monitor to divide by.
    """

    pattern: RawPattern
    time: float
    sha256: str
    by_monitor: bool

    @classmethod
    def of(cls, pattern: RawPattern, time: float, *, by_monitor: bool) -> Background:
        """Name a background by what it holds."""
        both = np.concatenate([pattern.q, pattern.intensity]).astype("<f8")
        return cls(pattern, time, hashlib.sha256(both.tobytes()).hexdigest(), by_monitor)


class Gathered:
    """The sum of the frames of one background run, as it grows.

    Attributes:
        name: under which it is kept; '' as long as no frame is in it.
        latest: when the last of them was taken, UTC epoch s.
        frames: how many there are.
    """

    def __init__(self) -> None:
        self.name = ""
        self.latest = 0.0
        self._total: Float | None = None
        self._invalid: Bool | None = None
        self._dark: Dark | None = None
        self._monitor = 0.0
        self.frames = 0

    def add(
        self,
        reference: FrameReference,
        values: Float,
        invalid: Bool,
        dark: Dark | None,
        monitor: float,
    ) -> None:
        """Take one frame in; the pixels that one frame lacks are left out of all.

        Raises:
            BadFrame: its shape differs from that of the frames before.
        """
        if self._total is None or self._invalid is None:
            self._total, self._invalid = np.zeros(values.shape), np.zeros(values.shape, dtype=bool)
        if values.shape != self._total.shape:
            raise BadFrame(
                f"this background frame has shape {values.shape}, the earlier {self._total.shape}"
            )
        self._total += np.where(invalid, 0.0, values)
        self._invalid |= invalid
        self._dark = dark
        self._monitor += monitor
        self.frames += 1
        self.name = kept_name(reference.key.run_uid, reference.key.data_key, NAMED)
        self.latest = max(self.latest, reference.time)

    def whole(self) -> tuple[Float, Bool, Dark | None, float]:
        """Give all exposures as one: counts, where there are none, dark, monitor.

        The same dark is in all of them, so that its error adds up and does not average out.

        Raises:
            BadFrame: there is no frame.
        """
        if self._total is None or self._invalid is None:
            raise BadFrame("the background run holds no frame of this detector")
        dark, n = self._dark, self.frames
        if dark is not None:
            dark = replace(dark, mean=n * dark.mean, variance=n**2 * dark.variance)
        return self._total, self._invalid, dark, self._monitor


class Backgrounds:
    """Keeps the latest few backgrounds. Use it from one thread at a time."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Background] = OrderedDict()

    def keep(self, name: str, background: Background) -> None:
        """Keep a background under the name of its run and detector."""
        self._kept[name] = background
        while len(self._kept) > RUNS_KEPT:
            self._kept.popitem(last=False)

    def keeps(self, run_uid: str, data_key: str) -> bool:
        """Tell whether the background of a run and detector is held."""
        return kept_name(run_uid, data_key, NAMED) in self._kept

    def of(self, run_uid: str, reference: FrameReference) -> Background | None:
        """Give a run's background for the detector of a frame; None when there is none."""
        name = kept_name(run_uid, reference.key.data_key, NAMED)
        if not run_uid or name not in self._kept:
            return None
        self._kept.move_to_end(name)
        return self._kept[name]

    def forget(self, run_uid: str) -> None:
        """Let go of a run's backgrounds; unknown runs are fine."""
        for name in [name for name in self._kept if name.startswith(run_prefix(run_uid))]:
            del self._kept[name]


def subtract(raw: RawPattern, background: Background, scale: float) -> RawPattern | None:
    """Subtract a background from a pattern, where it has one.

    Its error is the same in every frame that it is subtracted from: sigma is right for each
    frame, but frames of one run are not independent of each other.

    Args:
        raw: the frame's pattern, by its monitor.
        background: by its own.
        scale: what the background is multiplied by.

    Returns:
        The difference where both were measured; None where nothing significant is left, or the
        background is the larger one: then the frame is better judged as it is.
    """
    found = background.pattern
    inside = (raw.q >= found.q[0]) & (raw.q <= found.q[-1])
    q = raw.q[inside]
    behind = scale * np.interp(q, found.q, found.intensity)
    intensity = raw.intensity[inside] - behind
    if raw.sigma is None or found.sigma is None:
        sigma = None
        variance = np.zeros(q.size)
    else:
        variance = raw.sigma[inside] ** 2 + (scale * np.interp(q, found.q, found.sigma)) ** 2
        sigma = np.sqrt(variance)
    error = float(np.sqrt(variance.sum()))
    lacking = float(-intensity[intensity < 0.0].sum())
    by_chance = float(np.sqrt(variance).sum())  # of noise around zero less than this is negative
    too_large = lacking > by_chance + TOO_LARGE * float(np.abs(raw.intensity[inside]).sum())
    if q.size < 2 or too_large or not float(intensity.sum()) > DETECTION * error:
        return None
    return RawPattern(q, intensity, sigma)
