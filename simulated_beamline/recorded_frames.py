"""Recorded detector frames and masks: TIFF and HDF5 files as a scan's raw material."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, cast

import fabio
import h5py
import hdf5plugin  # noqa: F401  # pyright: ignore[reportUnusedImport] - registers the filters
import numpy as np
import numpy.typing as npt
import tifffile

from simulated_beamline.errors import BeamlineError

Image = npt.NDArray[np.generic]


def read_frames(folder: Path) -> tuple[list[Image], list[str]]:
    """Read every TIFF and HDF5 file of a folder, in the order of their names.

    An HDF5 file gives all frames of its first dataset with two or three dimensions.

    Returns:
        The frames, all of one shape (rows, columns) and dtype, and a name for each.

    Raises:
        BeamlineError: no frames, an unreadable file, or frames that differ in shape or dtype.
    """
    if not folder.is_dir():
        raise BeamlineError(f"{folder} is not a folder")
    frames: list[Image] = []
    names: list[str] = []
    for path in sorted(folder.iterdir()):
        suffix = path.suffix.lower()
        if suffix in (".tif", ".tiff"):
            stack = _tiff(path)
        elif suffix in (".h5", ".hdf5", ".nxs"):
            stack = _hdf5(path)
        else:
            continue
        for number, frame in enumerate(stack):
            if frames and (frame.shape, frame.dtype) != (frames[0].shape, frames[0].dtype):
                raise BeamlineError(
                    f"{path.name} is {frame.shape} {frame.dtype}, but {names[0]} is "
                    f"{frames[0].shape} {frames[0].dtype}; one scan has one kind of frame"
                )
            frames.append(frame)
            names.append(path.name if len(stack) == 1 else f"{path.name}#{number}")
    if not frames:
        raise BeamlineError(f"{folder} holds no TIFF or HDF5 frame")
    return frames, names


def read_mask(path: Path, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Read a mask (.npy, .tif, .edf ...), non-zero where a pixel is to be left out.

    Raises:
        BeamlineError: unreadable, or not of the frames' shape.
    """
    try:
        if path.suffix.lower() == ".npy":
            mask: Image = np.load(path, allow_pickle=False)
        else:
            with fabio.open(str(path)) as image:
                mask = np.asarray(image.data)
    except (OSError, ValueError) as error:
        raise BeamlineError(f"mask {path} cannot be read: {error}") from None
    if mask.shape != shape:
        raise BeamlineError(f"mask {path} is {mask.shape}, but the frames are {shape}")
    return mask != 0


def _tiff(path: Path) -> list[Image]:
    try:
        image = cast("Image", tifffile.imread(path))
    except (OSError, ValueError, LookupError, struct.error, tifffile.TiffFileError) as error:
        raise BeamlineError(f"{path} cannot be read as TIFF: {error}") from None
    return _as_frames(path, image)


def _hdf5(path: Path) -> list[Image]:
    found: list[Image] = []

    def visit(_name: str, item: Any) -> bool | None:
        if isinstance(item, h5py.Dataset) and item.ndim in (2, 3) and item.dtype.kind in "iuf":
            found.append(np.asarray(item[()]))
            return True
        return None

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
    except OSError as error:
        raise BeamlineError(f"{path} cannot be read as HDF5: {error}") from None
    if not found:
        raise BeamlineError(f"{path} holds no dataset with two or three dimensions")
    return _as_frames(path, found[0])


def _as_frames(path: Path, image: Image) -> list[Image]:
    if image.ndim == 2:
        return [image]
    if image.ndim == 3:
        return list(image)
    raise BeamlineError(f"{path} has {image.ndim} dimensions; a frame has two, a stack three")
