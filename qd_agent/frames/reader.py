"""The one reader: looks at a reference's location and lets the right module read it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from qd_agent.core.errors import BadFrame, QdError, Unavailable
from qd_agent.core.frame import (
    Frame,
    FrameReference,
    Hdf5Location,
    InlineLocation,
    NoLocation,
    TiffLocation,
)
from qd_agent.frames.checks import check_declared, check_image
from qd_agent.frames.inline import read_inline
from qd_agent.frames.paths import resolve
from qd_agent.frames.settings import FrameSettings
from qd_agent.frames.storage import Storage

if TYPE_CHECKING:
    from qd_agent.frames.hdf5 import Hdf5Reader
    from qd_agent.frames.tiff import TiffReader

InTiled = Callable[[FrameReference], npt.NDArray[np.generic]]


class Reader:
    """Implements `core.ports.FrameReader` for every location; used by one thread at a time.

    Args:
        settings: what may be read, and how long to wait for it.
        stopping: asked while waiting; once it says so, `read` waits no longer.
        in_tiled: gives the pixels of a frame as Tiled has it, raises QdError; None: there is none.
    """

    def __init__(
        self,
        settings: FrameSettings,
        stopping: Callable[[], bool] = lambda: False,
        in_tiled: InTiled | None = None,
    ) -> None:
        self._settings, self._stopping, self._in_tiled = settings, stopping, in_tiled
        self._storage = Storage(settings, elsewhere=in_tiled is not None)
        self._hdf5: Hdf5Reader | None = None
        self._tiff: TiffReader | None = None

    def read(self, reference: FrameReference) -> Frame:
        """Read one frame; waits for a growing file up to `settings.deadline_s`.

        Raises:
            BadFrame: not allowed, or not what was declared.
            StorageAway: the folder that it lies in is away, and so is all that lies there.
            Unavailable: not readable by the deadline, or by the time we are told to stop.
        """
        location = reference.location
        if isinstance(location, InlineLocation):
            return read_inline(reference, self._settings.max_pixels)
        if isinstance(location, NoLocation):
            raise BadFrame(f"frame {reference.key} cannot be found: {location.missing}")
        try:
            if isinstance(location, TiffLocation):
                return self._images().read(reference, location)
            return self._files().read(reference, location)
        except (BadFrame, Unavailable) as error:
            try:
                if self._is_out_of_reach(location.uri):
                    return self._from_tiled(reference)
            except QdError:
                self._storage.check(location.uri)
                raise error from None
            self._storage.check(location.uri)
            raise

    def _is_out_of_reach(self, uri: str) -> bool:
        """Tell whether a file is not there for us, or not to be read: Tiled may be able to."""
        if self._in_tiled is None:
            return False
        try:
            resolve(uri, self._settings)
        except (BadFrame, Unavailable):
            return True
        return False

    def _from_tiled(self, reference: FrameReference) -> Frame:
        if self._in_tiled is None:
            raise BadFrame(f"frame {reference.key} is in Tiled alone, and none is asked")
        image = self._in_tiled(reference)
        check_image(reference, image.shape, image.dtype.kind, self._settings.max_pixels)
        check_declared(reference, image.dtype)
        return Frame(reference, image)

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
