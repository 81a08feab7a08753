"""Reads frames from TIFF files, one file a frame or several pages in one."""

from __future__ import annotations

import logging
import math
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import tifffile

from qd_agent.core.errors import BadFrame, Unavailable
from qd_agent.core.frame import Frame, FrameReference, TiffLocation
from qd_agent.frames.checks import check_declared, check_image
from qd_agent.frames.paths import resolve
from qd_agent.frames.patience import Patience, reason_of
from qd_agent.frames.settings import FrameSettings
from qd_agent.frames.tiff_tags import check_tags

MAX_PIECES = 1 << 16
"""Most strips or tiles of one frame."""

_PLAIN, _DEFLATE = 1, frozenset({8, 32946})
"""Numbers of the compressions that can be read: none, and deflate (two numbers for it)."""

_ODD = (ValueError, TypeError, KeyError, IndexError, RuntimeError, AttributeError,
        OverflowError, ZeroDivisionError, struct.error, tifffile.TiffFileError)  # fmt: skip
"""What tifffile raises on files that are broken, or not complete yet."""


class TiffReader:
    """Reads pages of files; keeps none open. Used by one thread at a time."""

    def __init__(
        self, settings: FrameSettings, stopping: Callable[[], bool] = lambda: False
    ) -> None:
        # What it has to say of a broken file, our one line says.
        logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)
        self._settings = settings
        self._patience = Patience(settings.deadline_s, stopping)

    def read(self, reference: FrameReference, location: TiffLocation) -> Frame:
        """Read one frame; tries again until the deadline while its file may still be written.

        Raises:
            BadFrame: not allowed, or not what was declared.
            Unavailable: not there or not complete by the deadline; it may still become so.
        """
        # The files of a scan lie in one folder; one that is away is not waited for frame by frame.
        folder = location.uri.rpartition("/")[0]
        image = self._patience.wait_for(
            folder, reference.key, lambda: self._try(reference, location), (OSError,)
        )
        return Frame(reference, image)

    def _try(self, reference: FrameReference, location: TiffLocation) -> npt.NDArray[np.generic]:
        path = resolve(location.uri, self._settings)
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                check_tags(file, size, location.page)
                file.seek(0)
                # Told what it is not, the library does not look for peculiarities of microscopes.
                with tifffile.TiffFile(file, is_lsm=False, is_ndpi=False, is_ome=False) as tiff:
                    page: Any = tiff.pages[location.page]
                    return _pixels(page, file, size, reference, self._settings)
        except BadFrame as error:
            raise BadFrame(f"{_shown(path)}: {error}") from error
        except _ODD as error:
            raise Unavailable(
                f"{_shown(path)} is no TIFF file (yet): {reason_of(error)}"
            ) from error


def _pixels(
    page: Any, file: BinaryIO, size: int, reference: FrameReference, settings: FrameSettings
) -> npt.NDArray[np.generic]:
    """Read a page, once all that it says of itself is known to be harmless."""
    dtype = page.dtype
    if dtype is None or page.samplesperpixel != 1 or page.ndim != 2:
        raise BadFrame(f"an image of shape {page.shape} and {page.samplesperpixel} samples a pixel")
    shape = tuple(int(n) for n in page.shape)
    if len(reference.shape) == 1 and shape[0] == 1:  # a strip of one row
        shape = shape[1:]
    check_image(reference, shape, dtype.kind, settings.max_pixels)
    check_declared(reference, dtype)
    pieces = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    if len(pieces) > MAX_PIECES:
        raise BadFrame(f"the frame is cut into {len(pieces)} pieces, too many to read")
    if any(offset + count > size for offset, count in pieces):
        raise Unavailable(f"{size} bytes, and its pixels reach beyond: not complete yet")
    _check_pieces(page, file, pieces, dtype.itemsize)
    return np.asarray(page.asarray()).reshape(shape)


def _check_pieces(page: Any, file: BinaryIO, pieces: list[tuple[int, int]], itemsize: int) -> None:
    """Refuse pieces that hold, or would become, more than the page says."""
    declared = math.prod(page.chunks) * itemsize
    if declared > math.prod(page.shape) * itemsize * 4 + (1 << 20):
        raise BadFrame(f"its tiles of {page.chunks} are far larger than the frame")
    compression = int(page.compression)
    if compression == _PLAIN:
        return
    if compression not in _DEFLATE:
        raise BadFrame(
            f"compressed with {page.compression!r:.40}, which is not read; deflate and none are"
        )
    for offset, count in pieces:
        file.seek(offset)
        try:
            found = len(zlib.decompressobj().decompress(file.read(count), declared + 1))
        except zlib.error as error:
            raise Unavailable(f"a piece of it cannot be inflated (yet): {error}") from error
        if found > declared:
            raise BadFrame(f"a piece of it would become {found} bytes or more, {declared} fit")


def _shown(path: Path) -> str:
    text = str(path)
    return text if text.isprintable() else ascii(text)
