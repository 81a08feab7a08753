"""Finds a dataset in an HDF5 file without ever leaving the allowed roots.

HDF5 follows external links, virtual datasets and external raw storage to any file that this
process may read. So links are followed here, one by one, and every other file is checked first.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import h5py
import h5py.h5d
import h5py.h5g
import h5py.h5l
import h5py.h5o

from qd_agent.core.errors import BadFrame
from qd_agent.frames.hdf5_open import is_live, open_closed, open_live
from qd_agent.frames.paths import allowed_path
from qd_agent.frames.settings import FrameSettings

MAX_HOPS = 16
"""Most soft and external links on the way to a dataset."""
MAX_DEPTH = 4
"""Deepest nesting of virtual datasets."""
MAX_SOURCES = 4096
"""Most sources of a virtual dataset."""


class Search:
    """Looks up datasets and holds the files that they lie in, until it is closed.

    Attributes:
        live: whether one of the files is still being written.
    """

    def __init__(self, settings: FrameSettings) -> None:
        """Open nothing yet; `settings` gives the path map and the allowed roots."""
        self._settings = settings
        self._files: dict[Path, h5py.File] = {}
        self._all_live = False
        self.live = False

    def dataset(self, path: Path, name: str) -> h5py.Dataset:
        """Give the dataset `name` of the file `path`, all of whose data may be read.

        Raises:
            BadFrame: no dataset, or a part of it lies outside of the allowed roots.
            Unavailable: another file that it needs does not exist (yet).
            KeyError: no such name (yet).
            OSError, RuntimeError, ValueError: from HDF5; the file is incomplete or broken.
        """
        dataset = self._vetted(path, name, MAX_DEPTH)
        if dataset.is_virtual and self.live and not self._all_live:
            # HDF5 opens the sources in the manner of the file that names them, and fills in
            # zeros for those that it cannot open.
            self.close()
            self._all_live = self.live = True
            dataset = self._vetted(path, name, MAX_DEPTH)
        return dataset

    def is_current(self) -> bool:
        """Tell whether every open file is still there and still being written, or not, as it was.

        Raises:
            OSError, Unavailable: one of them is gone.
        """
        return all(
            path.stat().st_ino == os.fstat(file.id.get_vfd_handle()).st_ino and is_live(path)
            for path, file in self._files.items()
        )

    def close(self) -> None:
        """Close every file."""
        while self._files:
            _, file = self._files.popitem()
            # Closing flushes nothing for a reader; HDF5 may still complain about a broken file.
            with suppress(OSError, RuntimeError, ValueError):
                file.close()

    def _vetted(self, path: Path, name: str, depth: int) -> h5py.Dataset:
        dataset, where = self._find(path, name)
        if dataset.external:
            raise BadFrame(f"dataset {name!r} in {path} keeps its data in raw files; not read")
        if dataset.is_virtual:
            self._vet_sources(dataset, where, depth)
        return dataset

    def _vet_sources(self, dataset: h5py.Dataset, path: Path, depth: int) -> None:
        sources = {(str(s.file_name), str(s.dset_name)) for s in dataset.virtual_sources()}
        if depth == 0 or len(sources) > MAX_SOURCES:
            raise BadFrame(f"virtual dataset {dataset.name!r} in {path} is nested or split too far")
        for file_name, name in sources:
            if "%" in file_name or "%" in name:
                raise BadFrame(f"virtual dataset {dataset.name!r} in {path} names files by pattern")
            source = path if file_name == "." else self._other(file_name, path)
            held = set(self._files)
            self._vetted(source, name, depth - 1)
            # HDF5 opens the sources itself, and in another way; only one may hold them.
            for other in set(self._files) - held:
                self._files.pop(other).close()

    def _find(self, path: Path, name: str) -> tuple[h5py.Dataset, Path]:
        """Follow `name` link by link; give the dataset and the file that it really lies in."""
        if "\0" in name:
            raise BadFrame(f"{name!r} is no name that a dataset can have")
        here = self._open(path)
        parts = _parts(os.fsencode(name))
        for _ in range(MAX_HOPS):
            group, rest = _descend(here, parts)
            if not rest:
                if not isinstance(group, h5py.h5d.DatasetID):
                    raise BadFrame(f"{name!r} in {path} is not a dataset")
                return h5py.Dataset(group), path
            link, *rest = rest
            if group.links.get_info(link).type not in {h5py.h5l.TYPE_SOFT, h5py.h5l.TYPE_EXTERNAL}:
                raise BadFrame(f"{name!r} in {path} lies behind a link of unknown kind")
            target = group.links.get_val(link)
            if isinstance(target, tuple):
                path = self._other(target[0].decode(errors="surrogateescape"), path)
                here, target = self._open(path), target[1]
            elif target.startswith(b"/"):
                here = h5py.h5g.open(here, b"/")
            else:
                here = group
            parts = [*_parts(target), *rest]
        raise BadFrame(f"{name!r} in {path} lies behind more than {MAX_HOPS} links")

    def _open(self, path: Path) -> h5py.h5g.GroupID:
        if path not in self._files:
            live = self._all_live or (self._settings.swmr and is_live(path))
            self._files[path] = open_live(path) if live else open_closed(path)
            self.live = self.live or live
        return h5py.h5g.open(self._files[path].id, b"/")

    def _other(self, file_name: str, path: Path) -> Path:
        """Check a file that `path` names: relative names start from its own folder."""
        return allowed_path(file_name, self._settings, base=path.parent)


def _parts(name: bytes) -> list[bytes]:
    return [part for part in name.split(b"/") if part not in {b"", b"."}]


def _descend(
    here: h5py.h5g.GroupID, parts: list[bytes]
) -> tuple[h5py.h5g.GroupID | h5py.h5d.DatasetID, list[bytes]]:
    """Follow hard links; stop at the first other link, which then leads the rest of the parts."""
    for at, part in enumerate(parts):
        if not isinstance(here, h5py.h5g.GroupID):
            raise BadFrame(f"{part.decode(errors='replace')!r} is looked for inside of a dataset")
        if here.links.get_info(part).type != h5py.h5l.TYPE_HARD:
            return here, parts[at:]
        here = h5py.h5o.open(here, part)
    return here, []
