"""What is said of files whose frames cannot be read: once, and once more when that has ended."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from qd_agent.core.frame import FrameReference, Hdf5Location, TiffLocation
from qd_agent.ledger import Ledger

_log = structlog.get_logger(__name__)

_MOST_FILES = 1000


@dataclass(slots=True)
class _Away:
    """A file some of whose frames are away: how many were set aside since, how many answered."""

    run_uid: str
    set_aside: int = 0
    answered: int = 0


class AwayFiles:
    """Logs one warning for a file, not for each of its frames; these are told at debug level.

    Args:
        ledger: knows whether frames of a run are still away.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._files: dict[str, _Away] = {}

    def put_off(self, reference: FrameReference, reason: str, wait_s: float) -> None:
        """Say that a frame is away and tried again in `wait_s` seconds."""
        file = _file(reference)
        log = _log.debug
        if file not in self._files:
            log = _log.warning
            while len(self._files) >= _MOST_FILES:
                del self._files[next(iter(self._files))]
            self._files[file] = _Away(reference.key.run_uid)
        log(
            "frame is away, will be tried again (its file's other frames are told at level debug)",
            frame=str(reference.key),
            reason=reason,
            wait_s=wait_s,
        )

    def answered(self, reference: FrameReference, *, set_aside: bool) -> None:
        """Take in that a frame that was away has its answer; the file's last one is told."""
        found = self._files.get(_file(reference))
        if found is None:
            return
        found.set_aside += set_aside
        found.answered += not set_aside
        if self._ledger.any_away(found.run_uid):
            return
        for file in [name for name, away in self._files.items() if away.run_uid == found.run_uid]:
            _say(file, self._files.pop(file))


def _say(file: str, away: _Away) -> None:
    log = _log.warning if away.set_aside else _log.info
    log(
        "frames that were away have their answers",
        run=away.run_uid,
        file=file,
        set_aside=away.set_aside,
        answered=away.answered,
    )


def _file(reference: FrameReference) -> str:
    location = reference.location
    if isinstance(location, TiffLocation):  # a file a frame: their folder stands for all
        return location.uri.rpartition("/")[0]
    return location.uri if isinstance(location, Hdf5Location) else reference.key.run_uid
