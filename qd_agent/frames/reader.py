"""The one reader: looks at a reference's location and lets the right module read it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qd_agent.core.errors import BadFrame
from qd_agent.core.frame import (
    Frame,
    FrameReference,
    Hdf5Location,
    InlineLocation,
    NoLocation,
    TiffLocation,
)
from qd_agent.frames.inline import read_inline
from qd_agent.frames.settings import FrameSettings

if TYPE_CHECKING:
    from qd_agent.frames.hdf5 import Hdf5Reader
    from qd_agent.frames.tiff import TiffReader


class Reader:
    """Implements `core.ports.FrameReader` for every location; used by one thread at a time."""

    def __init__(
        self, settings: FrameSettings, stopping: Callable[[], bool] = lambda: False
    ) -> None:
        self._settings, self._stopping = settings, stopping
        self._hdf5: Hdf5Reader | None = None
        self._tiff: TiffReader | None = None

    def read(self, reference: FrameReference) -> Frame:
        """Read one frame; waits for a growing file up to `settings.deadline_s`.

        Raises:
            BadFrame: not allowed, or not what was declared.
            Unavailable: not readable by the deadline, or by the time we are told to stop.
        """
        location = reference.location
        if isinstance(location, InlineLocation):
            return read_inline(reference, self._settings.max_pixels)
        if isinstance(location, NoLocation):
            raise BadFrame(f"frame {reference.key} cannot be found: {location.missing}")
        if isinstance(location, TiffLocation):
            return self._images().read(reference, location)
        return self._files().read(reference, location)

    def length(self, uri: str, dataset: str) -> int:
        """Give the number of frames that a dataset holds now.

        Raises:
            BadFrame: not allowed, or no stack of images.
            Unavailable: it cannot be opened now.
        """
        return self._files().length(Hdf5Location(uri=uri, dataset=dataset, row=0))

    def close(self) -> None:
        """Close every open file."""
        if self._hdf5 is not None:
            self._hdf5.close()
            self._hdf5 = None

    def _files(self) -> Hdf5Reader:
        if self._hdf5 is None:
            from qd_agent.frames.hdf5 import Hdf5Reader  # noqa: PLC0415 - h5py is heavy

            self._hdf5 = Hdf5Reader(self._settings, self._stopping)
        return self._hdf5

    def _images(self) -> TiffReader:
        if self._tiff is None:
            from qd_agent.frames.tiff import TiffReader  # noqa: PLC0415 - tifffile is heavy

            self._tiff = TiffReader(self._settings, self._stopping)
        return self._tiff
