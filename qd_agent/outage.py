"""The storage of all frames is away: for how long, and when going on makes no sense."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from qd_agent.core.errors import Fatal
from qd_agent.core.frame import FrameReference, Hdf5Location, TiffLocation

_log = structlog.get_logger(__name__)

FEWEST = 3
"""Frames or tries in vain before anything is concluded."""


class Outage:
    """Counts what could not be read because its storage is away; no frame is to blame.

    A supervisor that starts the agent again is what may help then (it mounts what is to be
    mounted), and somebody who sees that it has stopped.

    Args:
        patience_s: how long that may last, s.
        clock: monotonic, s.
    """

    def __init__(self, patience_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience_s, self._clock = patience_s, clock
        self._since: float | None = None
        self._vain = 0

    def take(self, reason: str) -> None:
        """Take in that a frame could not be read.

        Args:
            reason: one sentence.

        Raises:
            Fatal: it has been so for too long, with nothing read in between.
        """
        now = self._clock()
        if self._since is None:
            self._since = now
            _log.error("storage is away, frames wait", reason=reason)
        self._vain += 1
        lasted = now - self._since
        if self._vain >= FEWEST and lasted >= self._patience_s:
            raise Fatal(
                f"{reason}; it has been so for {lasted:.0f} s. Bring it back and start again: the "
                "frames wait in the ledger, none is set aside for it"
            )

    def is_over(self, reference: FrameReference) -> None:
        """Take in that a frame was read; one whose pixels are in no file tells nothing."""
        if self._since is None or not isinstance(reference.location, Hdf5Location | TiffLocation):
            return
        _log.info("storage is back", away_s=round(self._clock() - self._since))
        self._since, self._vain = None, 0
