"""The growing HDF5 file that frames are written to, readable by others all the while (SWMR)."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

DATASET = "/entry/data/data"

SPARE_BYTES = 16 * 2**20
"""Room that a disk must have beyond the next frame, for HDF5's own bookkeeping."""


class FrameFile:
    """A growing HDF5 file of frames, shape (n, rows, columns), one chunk a frame.

    Frames are stored with HDF5's own shuffle and deflate filters, which every reader has; noise of
    a few counts shrinks sixfold in a few hundredths of a second.
    """

    def __init__(self, path: Path, shape: tuple[int, int], dtype: np.dtype[np.generic]) -> None:
        self._folder = path.parent
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file: Any = h5py.File(path, "w", libver="latest")
        self._data: Any = self._file.create_dataset(
            DATASET,
            shape=(0, *shape),
            maxshape=(None, *shape),
            chunks=(1, *shape),
            dtype=dtype,
            shuffle=True,
            compression="gzip",
            compression_opts=1,
        )
        self._file.swmr_mode = True
        self.written = 0

    def append(self, image: npt.NDArray[np.generic]) -> None:
        """Write one more frame and flush it, so that readers see it.

        Raises:
            OSError: the disk has no room for it. This is seen before HDF5 is asked, because a
                file on which HDF5 has failed can neither be closed nor read.
        """
        if shutil.disk_usage(self._folder).free < image.nbytes + SPARE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._folder))
        self._data.resize(self.written + 1, axis=0)
        self._data[self.written] = image
        self._data.flush()
        self.written += 1

    def close(self) -> None:
        """Finish the file."""
        self._file.close()
