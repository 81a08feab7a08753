"""The files that frames are written to: HDF5 (others read it as it grows, SWMR) or TIFF."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import h5py
import hdf5plugin
import numpy as np
import numpy.typing as npt
import tifffile

from simulated_beamline.formats import FramesAs

DATASET = "/entry/data/data"

SPARE_BYTES = 16 * 2**20
"""Room that a disk must have beyond the next frame, for HDF5's own bookkeeping."""


class FrameStore(Protocol):
    """Where frames go, one after another."""

    written: int

    def append(self, image: npt.NDArray[np.generic]) -> None:
        """Take one more frame; others can read it from then on, if the format lets them."""
        ...

    def close(self) -> None:
        """Finish."""
        ...


def open_store(
    path: Path, shape: tuple[int, ...], dtype: np.dtype[np.generic], form: FramesAs
) -> FrameStore:
    """Open where frames of this form go: the file `path`, or files whose names begin like it."""
    if form is FramesAs.INLINE:
        return LastFrame()
    if form.is_tiff:
        return TiffFiles(path)
    return FrameFile(path, shape, dtype, form)


class FrameFile:
    """A growing HDF5 file of frames, shape (n, *shape), one chunk a frame.

    By default frames are stored with HDF5's own shuffle and deflate filters, which every reader
    has; noise of a few counts shrinks sixfold in a few hundredths of a second.
    """

    def __init__(
        self,
        path: Path,
        shape: tuple[int, ...],
        dtype: np.dtype[np.generic],
        form: FramesAs = FramesAs.HDF5,
    ) -> None:
        self._folder = path.parent
        self._folder.mkdir(parents=True, exist_ok=True)
        swmr = form is not FramesAs.HDF5_CLOSED
        self._file: Any = h5py.File(path, "w", libver="latest" if swmr else "earliest")
        self._data: Any = self._file.create_dataset(
            DATASET,
            shape=(0, *shape),
            maxshape=(None, *shape),
            chunks=(1, *shape),
            dtype=dtype,
            **_filters(form),
        )
        if swmr:
            self._file.swmr_mode = True
        self.written = 0

    def append(self, image: npt.NDArray[np.generic]) -> None:
        """Write one more frame and flush it, so that readers see it.

        Raises:
            OSError: the disk has no room for it. This is seen before HDF5 is asked, because a
                file on which HDF5 has failed can neither be closed nor read.
        """
        _check_room(self._folder, image)
        self._data.resize(self.written + 1, axis=0)
        self._data[self.written] = image
        self._data.flush()
        self.written += 1

    def close(self) -> None:
        """Finish the file."""
        self._file.close()


class TiffFiles:
    """A sequence of TIFF files: `cam.h5` stands for `cam_000000.tiff`, `cam_000001.tiff` ..."""

    def __init__(self, path: Path) -> None:
        self._stem = path.with_suffix("")
        self._stem.parent.mkdir(parents=True, exist_ok=True)
        self.written = 0

    def append(self, image: npt.NDArray[np.generic]) -> None:
        """Write one more file.

        Raises:
            OSError: the disk has no room for it.
        """
        _check_room(self._stem.parent, image)
        tifffile.imwrite(f"{self._stem}_{self.written:06d}.tiff", image)
        self.written += 1

    def close(self) -> None:
        """Do nothing: every file is finished."""


class LastFrame:
    """Keeps the latest frame, for the event that carries it."""

    def __init__(self) -> None:
        self.image: npt.NDArray[np.generic] | None = None
        self.written = 0

    def append(self, image: npt.NDArray[np.generic]) -> None:
        """Keep it."""
        self.image = image
        self.written += 1

    def close(self) -> None:
        """Do nothing."""


def _check_room(folder: Path, image: npt.NDArray[np.generic]) -> None:
    if shutil.disk_usage(folder).free < image.nbytes + SPARE_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def _filters(form: FramesAs) -> Mapping[str, Any]:
    plugins: dict[FramesAs, Any] = {
        FramesAs.HDF5_LZ4: hdf5plugin.LZ4(),
        FramesAs.HDF5_BITSHUFFLE: hdf5plugin.Bitshuffle(),
        FramesAs.HDF5_ZSTD: hdf5plugin.Zstd(),
        FramesAs.HDF5_BLOSC: hdf5plugin.Blosc(),
    }
    return plugins.get(form, {"shuffle": True, "compression": "gzip", "compression_opts": 1})
