"""Open runs whose files do not grow any more: what the files hold is taken, announced or not."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import structlog

from qd_agent.agent import Agent
from qd_agent.core.errors import BadFrame, Unavailable
from qd_agent.core.frame import Happening
from qd_agent.ledger import Ledger

_log = structlog.get_logger(__name__)


class CatchingUp(Protocol):
    """A router that can be told what the files hold."""

    def open_runs(self) -> tuple[str, ...]:
        """Give the uids of the open runs."""
        ...

    def datasets(self, run_uid: str) -> list[tuple[str, str]]:
        """Give the datasets that an open run has announced."""
        ...

    def catch_up(
        self, run_uid: str, lengths: Mapping[tuple[str, str], int]
    ) -> tuple[list[Happening], str]:
        """Take in the frames that the files hold and no document announced."""
        ...


class Measuring(Protocol):
    """A reader that can tell how many frames a dataset holds."""

    def length(self, uri: str, dataset: str) -> int:
        """Give the number of frames; raises BadFrame or Unavailable."""
        ...


@dataclass(frozen=True, slots=True)
class _Files:
    """What the files of an open run hold, since when (monotonic s), and what came of it."""

    lengths: dict[tuple[str, str], int]
    since: float
    text: str
    taken: bool = False


class QuietRuns:
    """Asks the files of open runs twice in every `quiet_s`.

    Args:
        agent: takes in what is found.
        ledger: the books; a quiet run goes on their agenda, since its stop may be in Tiled.
        router: the agent's own.
        reader: asks the files.
        quiet_s: files that have not grown for so long belong to a quiet run.
    """

    def __init__(
        self, agent: Agent, ledger: Ledger, router: CatchingUp, reader: Measuring, quiet_s: float
    ) -> None:
        self._agent, self._ledger, self._router = agent, ledger, router
        self._reader, self._quiet_s = reader, quiet_s
        self._next = 0.0
        self._files: dict[str, _Files] = {}

    def told(self, run_uid: str) -> str:
        """Give what the files of an open run said, in a few words; '' when they were not asked."""
        return self._files[run_uid].text if run_uid in self._files else ""

    def turn(self) -> None:
        """Look whether open runs are quiet, and take in what the files of a quiet one hold."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._quiet_s / 2.0
        runs = self._router.open_runs()
        self._files = {uid: files for uid, files in self._files.items() if uid in runs}
        for run_uid in runs:
            now, lengths = time.monotonic(), self._lengths(run_uid)
            before = self._files.get(run_uid)
            if before is None or before.lengths != lengths:
                self._files[run_uid] = _Files(lengths, now, "its files are or were growing")
            elif not before.taken and now - before.since >= self._quiet_s:
                self._take(run_uid, before)

    def _take(self, run_uid: str, files: _Files) -> None:
        happenings, text = self._router.catch_up(run_uid, files.lengths)
        frames = self._agent.take(happenings)
        if frames:
            _log.info("run is quiet, its files were asked", run=run_uid, frames=frames)
        self._files[run_uid] = _Files(files.lengths, files.since, text, taken=True)
        self._ledger.note(run_uid, f"open, nothing new since: {text}")
        self._ledger.agenda.add(run_uid, time.time())

    def _lengths(self, run_uid: str) -> dict[tuple[str, str], int]:
        lengths: dict[tuple[str, str], int] = {}
        for uri, dataset in self._router.datasets(run_uid):
            try:
                lengths[uri, dataset] = self._reader.length(uri, dataset)
            except (BadFrame, Unavailable) as error:
                _log.debug("file cannot be asked", run=run_uid, reason=str(error))
        return lengths
