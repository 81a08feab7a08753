"""Whether the folders that detector files lie in are there at all."""

from __future__ import annotations

import os
from pathlib import Path

from qd_agent.core.errors import QdError, StorageAway
from qd_agent.frames.paths import mapped_path
from qd_agent.frames.settings import FrameSettings


class Storage:
    """Tells a file that is missing from a disk that is missing.

    Args:
        settings: the path map and the allowed roots.
        elsewhere: whether frames may be had from somewhere else; a root that was never there is
            then no trouble, since this may be a host without the detector's disk.
    """

    def __init__(self, settings: FrameSettings, *, elsewhere: bool) -> None:
        self._settings = settings
        self._first = {root: _look(root)[0] for root in settings.allowed_roots}
        self._elsewhere = elsewhere

    def check(self, uri: str) -> None:
        """Look whether the root of a file that could not be read is the one that it was.

        Raises:
            StorageAway: it is not there, cannot be entered, or another file system lies there.
        """
        try:
            path = mapped_path(uri, self._settings)
        except QdError:
            return
        for root in self._settings.allowed_roots:
            if path.is_relative_to(root):
                self._check_root(root)

    def _check_root(self, root: Path) -> None:
        first = self._first[root]
        if first is None and self._elsewhere:
            self._first[root] = _look(root)[0]
            return
        device, reason = _look(root)
        if device is not None and first is not None and device != first:
            reason = "another file system lies there than at the start (unmounted, or mounted anew)"
        if device is not None and first is None:
            self._first[root] = device
        if reason:
            raise StorageAway(f"the folder {root} of frames.allowed_roots is away: {reason}")


def _look(root: Path) -> tuple[int | None, str]:
    """Give the number of the file system that a folder lies on, or None and why it is of no use."""
    try:
        handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        return None, error.strerror or str(error)
    try:
        return os.fstat(handle).st_dev, ""
    finally:
        os.close(handle)
