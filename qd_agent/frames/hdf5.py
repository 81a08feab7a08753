"""Reads frames from HDF5 files, also while a detector still writes them (SWMR)."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401  # pyright: ignore[reportUnusedImport] - registers the filters
import numpy as np
import numpy.typing as npt

from qd_agent.core.errors import BadFrame, Unavailable
from qd_agent.core.frame import Frame, FrameReference, Hdf5Location
from qd_agent.frames.checks import check_declared, check_image
from qd_agent.frames.hdf5_chunks import check_chunks, check_written, is_in_last_chunk, written_rows
from qd_agent.frames.hdf5_links import Search
from qd_agent.frames.paths import resolve
from qd_agent.frames.patience import LONGEST_PAUSE_S, Patience, reason_of
from qd_agent.frames.settings import FrameSettings

MAX_OPEN = 8
"""Live datasets kept open; a detector that starts a file per scan would use up more and more."""

_HDF5_FAILURES = (OSError, KeyError, RuntimeError, ValueError)
"""What h5py raises for files that are incomplete, locked, truncated or broken."""


class Hdf5Reader:
    """Reads rows of datasets; keeps the latest ones open. Used by one thread at a time."""

    def __init__(
        self, settings: FrameSettings, stopping: Callable[[], bool] = lambda: False
    ) -> None:
        self._settings = settings
        self._patience = Patience(settings.deadline_s, stopping)
        self._live: OrderedDict[tuple[Path, str], tuple[Search, h5py.Dataset]] = OrderedDict()

    def read(self, reference: FrameReference, location: Hdf5Location) -> Frame:
        """Read one frame; tries again until the deadline while the file may still be growing.

        A file that kept a frame waiting in vain is not waited for until it yields one: whoever
        asks is to come again later, and nobody behind waits meanwhile.

        Raises:
            BadFrame: not allowed, or not what was declared.
            Unavailable: not there, not complete or not long enough by the deadline; it may
                still become so. Also when we are told to stop.
        """

        def forget(error: Exception, pause: float) -> None:
            # A row that is not there yet needs no new look at the file, at first.
            if not isinstance(error, Unavailable) or pause >= LONGEST_PAUSE_S:
                self._forget(location)

        image = self._patience.wait_for(
            location.uri,
            reference.key,
            lambda: self._try(reference, location),
            _HDF5_FAILURES,
            after=forget,
        )
        return Frame(reference, image)

    def length(self, location: Hdf5Location) -> int:
        """Give the number of frames that have been written to a dataset so far.

        Raises:
            BadFrame: not allowed, or no stack of images.
            Unavailable: it cannot be opened now, or does not tell which of its frames are written.
        """
        path = resolve(location.uri, self._settings)
        self._drop(path)
        search = Search(self._settings)
        try:
            dataset = search.dataset(path, location.dataset)
            shape = dataset.shape
            if shape is not None and len(shape) >= 2:
                shape = (written_rows(dataset), *shape[1:])
        except _HDF5_FAILURES as error:
            raise Unavailable(f"{path} cannot be opened: {reason_of(error)}") from error
        finally:
            search.close()
        if shape is None or not 2 <= len(shape) <= 4:
            raise BadFrame(f"dataset {location.dataset!r} in {path} has shape {shape}")
        # With two axes it is a strip detector's.
        return math.prod(shape[:-2]) if len(shape) > 2 else int(shape[0])

    def close(self) -> None:
        """Close every open file."""
        while self._live:
            self._live.popitem()[1][0].close()

    def _try(self, reference: FrameReference, location: Hdf5Location) -> npt.NDArray[np.generic]:
        path = resolve(location.uri, self._settings)
        search, dataset = self._dataset(path, location.dataset)
        try:
            return _read_row(dataset, reference, location.row, self._settings, live=search.live)
        finally:
            # A file that nobody writes is locked while it is open: let go of it at once, since
            # somebody may want to add to it.
            if not search.live:
                search.close()

    def _dataset(self, path: Path, name: str) -> tuple[Search, h5py.Dataset]:
        """Give a dataset and what holds it open; live ones are kept."""
        known = self._live.get((path, name))
        if known is not None:
            if known[0].is_current():
                self._live.move_to_end((path, name))
                return known
            self._drop(path)
        search = Search(self._settings)
        try:
            dataset = search.dataset(path, name)
            _check_filters(dataset, path)
        except (BadFrame, Unavailable, *_HDF5_FAILURES):
            search.close()
            raise
        if search.live:
            self._live[path, name] = (search, dataset)
            while len(self._live) > MAX_OPEN:
                self._live.popitem(last=False)[1][0].close()
        return search, dataset

    def _drop(self, path: Path) -> None:
        """Close what is open of a file: HDF5 opens a file in one manner at a time."""
        for key in [key for key in self._live if key[0] == path]:
            self._live.pop(key)[0].close()

    def _forget(self, location: Hdf5Location) -> None:
        """Close a file, so that the next try sees it as it is then."""
        with suppress(BadFrame, Unavailable):
            self._drop(resolve(location.uri, self._settings))


def _read_row(
    dataset: h5py.Dataset,
    reference: FrameReference,
    row: int,
    settings: FrameSettings,
    *,
    live: bool,
) -> npt.NDArray[np.generic]:
    """Read frame `row` of a dataset of shape (rows, *frame) or (rows, n, *frame).

    In a `live` file somebody still writes.
    """
    dataset.refresh()  # Dataset.refresh, because the shape of DatasetID.refresh stays cached
    shape, axes = dataset.shape, len(reference.shape)
    if shape is None or not axes + 1 <= len(shape) <= axes + 2:
        wanted = "(rows, height, width)" if axes == 2 else "(rows, channels)"
        raise BadFrame(f"dataset {dataset.name!r} has shape {shape}; frames need {wanted}")
    dtype = _dtype(dataset)
    check_image(reference, shape[-axes:], dtype.kind, settings.max_pixels)
    check_declared(reference, dtype)
    per_row = shape[1] if len(shape) == axes + 2 else 1
    rows = shape[0] * per_row
    if row >= rows:
        raise Unavailable(f"the dataset holds {rows} frames, this is frame {row} counted from 0")
    place = (row,) if len(shape) == axes + 1 else (row // per_row, row % per_row)
    check_chunks(dataset, place, settings.max_chunk_bytes)
    if live:
        check_written(dataset, place)
    image = np.asarray(dataset[place])
    if live and is_in_last_chunk(dataset, place) and not image.any():
        raise Unavailable(
            f"row {place[0]} of dataset {dataset.name!r} is empty, or not written yet"
        )
    return image


def _dtype(dataset: h5py.Dataset) -> np.dtype[np.generic]:
    try:
        return np.dtype(dataset.dtype)
    except TypeError as error:  # an HDF5 type that numpy has no name for
        raise BadFrame(f"dataset {dataset.name!r} holds no numbers: {error}") from error


def _check_filters(dataset: h5py.Dataset, path: Path) -> None:
    plist = dataset.id.get_create_plist()
    for at in range(plist.get_nfilters()):
        code, _, _, name = plist.get_filter(at)
        if not h5py.h5z.filter_avail(code):
            raise BadFrame(
                f"dataset {dataset.name!r} in {path} is compressed with filter {code} "
                f"({name.decode(errors='replace')[:40]}), which is not installed"
            )
