"""The darks of one detector: those of each run, or one from a file for all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from qd_agent.core.errors import BadFrame, Fatal
from qd_agent.core.frame import FrameReference
from qd_agent.reduction.corrections import Dark, DarkStream, dark_of
from qd_agent.reduction.images import read_image
from qd_agent.reduction.masking import Bool, invalid_pixels
from qd_agent.reduction.settings import CountSettings

Float = npt.NDArray[np.float64]

OWN, NAMED = "own", "named"
"""Whether a run's dark frames are its own, or it is the dark run of others."""


class Darks:
    """Keeps what is to be subtracted. Use it from one thread at a time.

    Args:
        settings: of the detector.
        shape: of its frames, where that is known already.
        axes: of its frames.

    Raises:
        Fatal: the dark file cannot be used; the message names it.
    """

    def __init__(
        self, settings: CountSettings, shape: tuple[int, ...] | None, axes: int = 2
    ) -> None:
        self._settings = settings
        self._without_hot = settings.hot_pixels == "leave_out"
        self._stream = DarkStream(without_hot=self._without_hot)
        self._fixed = self._load(shape, axes)

    @property
    def wanted(self) -> bool:
        """Whether dark frames of the documents are used."""
        return self._settings.dark == "stream"

    @property
    def file_sha256(self) -> str:
        """The sha256 of the dark that the settings name as a file, '' without one."""
        return "" if self._fixed is None else self._fixed.sha256

    def add(self, reference: FrameReference, counts: Float, invalid: Bool, role: str = OWN) -> None:
        """Take a dark frame into the mean of its run, as dark of that run or of others.

        Raises:
            BadFrame: its shape differs from the run's earlier dark frames.
        """
        name = kept_name(reference.key.run_uid, reference.key.data_key, role)
        self._stream.add(name, counts, invalid, reference.time)

    def keeps(self, run_uid: str, data_key: str, role: str) -> bool:
        """Tell whether dark frames of a run are held, in that role."""
        return self._stream.latest(kept_name(run_uid, data_key, role)) is not None

    def of(self, reference: FrameReference) -> Dark | None:
        """Give the dark that this frame has subtracted now.

        That is the mean of its own run's dark frames, else of the dark run that it names.
        """
        return self._stream.dark(self._name(reference)) if self.wanted else self._fixed

    def hash_of(self, reference: FrameReference) -> str:
        """Give the sha256 of that dark, '' for none."""
        dark = self.of(reference)
        return "" if dark is None else dark.sha256

    def age(self, reference: FrameReference) -> float | None:
        """Give the time between the frame and the latest frame of its dark, s; None for none."""
        latest = self._stream.latest(self._name(reference)) if self.wanted else None
        return None if latest is None else abs(reference.time - latest)

    def flags(self, reference: FrameReference) -> list[str]:
        """Give 'dark_missing', or 'dark_stale' where it was taken too long before or after."""
        if not self.wanted:
            return []
        age, limit = self.age(reference), self._settings.dark_max_age_s
        if age is None:
            return ["dark_missing"]
        return ["dark_stale"] if limit is not None and age > limit else []

    def forget(self, run_uid: str) -> None:
        """Let go of a run's dark frames; unknown runs are fine."""
        self._stream.forget_beginning(run_prefix(run_uid))

    def _name(self, reference: FrameReference) -> str:
        data_key, named = reference.key.data_key, reference.declared.dark_run
        own = kept_name(reference.key.run_uid, data_key, OWN)
        if not named or self._stream.latest(own) is not None:
            return own
        return kept_name(named, data_key, NAMED)

    def _load(self, shape: tuple[int, ...] | None, axes: int) -> Dark | None:
        path = self._settings.dark
        if not isinstance(path, Path):
            return None
        image, _ = read_image(path, "dark", axes)
        if shape is not None and image.shape != shape:
            raise Fatal(f"reduction: the dark {path} has shape {image.shape}, the frames {shape}")
        invalid = invalid_pixels(image)
        total = np.where(invalid, 0.0, image.astype(np.float64))
        return dark_of(total, (~invalid).astype(np.uint32), without_hot=self._without_hot)


def check_dark(dark: Dark, counts: Float) -> None:
    """Refuse a frame whose dark has another shape.

    Raises:
        BadFrame: it has.
    """
    if dark.mean.shape != counts.shape:
        raise BadFrame(f"the frame has shape {counts.shape}, its dark {dark.mean.shape}")


def run_prefix(run_uid: str) -> str:
    """Give what begins the name of everything that is kept of a run."""
    return f"{run_uid}\0"  # no name can hold it


def kept_name(run_uid: str, data_key: str, role: str) -> str:
    """Give the name under which something is kept of a run and a detector."""
    return f"{run_prefix(run_uid)}{role}\0{data_key}"
