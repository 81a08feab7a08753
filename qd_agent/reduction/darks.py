"""The darks of one detector: those of each run, or one from a file for all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from qd_agent.core.errors import BadFrame, Fatal
from qd_agent.core.frame import FrameKey, FrameReference
from qd_agent.reduction.corrections import Dark, DarkStream, dark_of
from qd_agent.reduction.images import read_image
from qd_agent.reduction.masking import Bool, invalid_pixels
from qd_agent.reduction.settings import CountSettings

Float = npt.NDArray[np.float64]


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

    def add(self, reference: FrameReference, counts: Float, invalid: Bool) -> None:
        """Take a dark frame into the mean of its run.

        Raises:
            BadFrame: its shape differs from the run's earlier dark frames.
        """
        self._stream.add(_name(reference.key), counts, invalid, reference.time)

    def of(self, key: FrameKey) -> Dark | None:
        """Give the dark that this run's frames of this detector have subtracted now."""
        return self._stream.dark(_name(key)) if self.wanted else self._fixed

    def hash_of(self, key: FrameKey) -> str:
        """Give the sha256 of that dark, '' for none."""
        dark = self.of(key)
        return "" if dark is None else dark.sha256

    def flags(self, reference: FrameReference) -> list[str]:
        """Give 'dark_missing', or 'dark_stale' where the latest was taken too long before."""
        if not self.wanted:
            return []
        latest, limit = self._stream.latest(_name(reference.key)), self._settings.dark_max_age_s
        if latest is None:
            return ["dark_missing"]
        return ["dark_stale"] if limit is not None and reference.time - latest > limit else []

    def forget(self, run_uid: str) -> None:
        """Let go of a run's dark frames; unknown runs are fine."""
        self._stream.forget_beginning(_prefix(run_uid))

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


def _prefix(run_uid: str) -> str:
    return f"{run_uid}\0"  # no name can hold it


def _name(key: FrameKey) -> str:
    return _prefix(key.run_uid) + key.data_key
