"""The one reader: looks at a reference's location and lets the right module read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qd_agent.core.frame import Frame, FrameReference, InlineLocation
from qd_agent.frames.inline import read_inline
from qd_agent.frames.settings import FrameSettings

if TYPE_CHECKING:
    from qd_agent.frames.hdf5 import Hdf5Reader


class Reader:
    """Implements `core.ports.FrameReader` for every location; used by one thread at a time."""

    def __init__(self, settings: FrameSettings) -> None:
        self._settings = settings
        self._hdf5: Hdf5Reader | None = None

    def read(self, reference: FrameReference) -> Frame:
        """Read one frame; waits for a growing file up to `settings.deadline_s`.

        Raises:
            BadFrame: not readable by the deadline, not allowed, or not what was declared.
        """
        if isinstance(reference.location, InlineLocation):
            return read_inline(reference, self._settings.max_pixels)
        if self._hdf5 is None:
            from qd_agent.frames.hdf5 import Hdf5Reader  # noqa: PLC0415 - h5py is heavy

            self._hdf5 = Hdf5Reader(self._settings)
        return self._hdf5.read(reference, reference.location)

    def close(self) -> None:
        """Close every open file."""
        if self._hdf5 is not None:
            self._hdf5.close()
            self._hdf5 = None
