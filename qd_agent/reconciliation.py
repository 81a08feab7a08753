"""The books against the world: runs whose end was missed, frames never announced, emptied stores.

Documents are a wake-up call; the truth lies in the files and in Tiled. A look at the books asks
the files how many frames they hold, Tiled what it knows of runs that are open or incomplete, and
the stores what they hold. It runs beside the path: `turn` never waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

import structlog

from qd_agent.agent import Agent, DocumentRouter
from qd_agent.archivist import Answer
from qd_agent.core.errors import BadFrame, QdError, Unavailable
from qd_agent.core.frame import Happening
from qd_agent.core.ports import Document
from qd_agent.ledger import Ledger

_log = structlog.get_logger(__name__)

PATIENCE_S = 120.0
"""Longest time that a look waits for Tiled and for the stores."""


class CatchingUp(DocumentRouter, Protocol):
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


class Auditing(Protocol):
    """A courier that can be asked to compare what its sink holds."""

    def audit(self, run_uids: Sequence[str]) -> Future[int]:
        """Give how many predictions the sink gets again."""
        ...


@dataclass(slots=True)
class _Look:
    """One look in progress: what is asked of Tiled and of the stores."""

    request: int | None
    runs: dict[str, Future[Answer]]
    audits: dict[str, Future[int]]
    began: float
    found: int = 0
    ended: int = 0
    open_before: frozenset[str] = frozenset()

    @property
    def done(self) -> bool:
        """Whether everybody has answered."""
        asked = [*self.runs.values(), *self.audits.values()]
        return all(f.done() for f in asked) or time.monotonic() - self.began > PATIENCE_S


@dataclass(frozen=True, slots=True)
class _Files:
    """What the files of an open run hold, since when (monotonic s), and what came of it."""

    lengths: dict[tuple[str, str], int]
    since: float
    text: str
    taken: bool = False


class Reconciliation:
    """Looks into the books when asked to, at the start, and when a run stops incomplete.

    Args:
        agent: takes in what is found.
        ledger: the books.
        router: the agent's own.
        new_router: gives a fresh one, for runs as Tiled tells them.
        reader: asks the files.
        archive: asks Tiled for a run.
        auditors: one for each sink, by its name.
        quiet_s: files that have not grown for so long belong to a quiet run.
    """

    def __init__(
        self,
        agent: Agent,
        ledger: Ledger,
        router: CatchingUp,
        *,
        new_router: Callable[[], DocumentRouter],
        reader: Measuring,
        archive: Callable[[str], Future[Answer]],
        auditors: Mapping[str, Auditing],
        quiet_s: float = 60.0,
    ) -> None:
        self._agent, self._ledger, self._router = agent, ledger, router
        self._new_router, self._reader = new_router, reader
        self._archive, self._auditors = archive, auditors
        self._quiet_s = quiet_s
        self._look: _Look | None = None
        self._next_poll = self._next_files = 0.0
        self._files: dict[str, _Files] = {}

    @property
    def idle(self) -> bool:
        """Whether no look is in progress and none is asked for."""
        return self._look is None and self._ledger.next_request() is None

    def begin(self) -> None:
        """Look into every open run, as after a start; the stores are asked by their couriers."""
        self._start(None, self._unfinished(None), audited=[])

    def turn(self) -> None:
        """Go on with the look in progress, or begin the next one that is asked for."""
        if self._look is not None:
            if self._look.done:
                look, self._look = self._look, None
                self._finish(look)
            return
        if time.monotonic() < self._next_poll:
            return
        self._next_poll = time.monotonic() + 0.5
        request = self._ledger.next_request()
        if request is not None:
            one = request.run_uid
            audited = self._ledger.run_uids() if one is None else [one]
            self._start(request.number, self._unfinished(one), audited=audited)
        elif self._agent.incomplete:
            self._start(None, [self._agent.incomplete.pop()], audited=[])
        elif time.monotonic() >= self._next_files:
            self._next_files = time.monotonic() + self._quiet_s / 2.0
            self._ask_files()

    def _unfinished(self, run_uid: str | None) -> list[str]:
        """Give the runs that are open or lack frames; one that is asked for in any case."""
        if run_uid is not None:
            return [run_uid]
        return [r.uid for r in self._ledger.runs() if r.exit_status is None or r.missing]

    def _start(self, request: int | None, runs: Sequence[str], audited: Sequence[str]) -> None:
        look = _Look(
            request,
            began=time.monotonic(),
            runs={uid: self._archive(uid) for uid in runs},
            open_before=frozenset(r.uid for r in self._ledger.runs() if r.exit_status is None),
            audits={
                name: auditor.audit(audited) for name, auditor in self._auditors.items() if audited
            },
        )
        self._look = look

    def _ask_files(self) -> None:
        """Look whether open runs are quiet, and take in what the files of a quiet one hold."""
        runs = self._router.open_runs()
        self._files = {uid: files for uid, files in self._files.items() if uid in runs}
        for run_uid in runs:
            now, lengths = time.monotonic(), self._lengths(run_uid)
            before = self._files.get(run_uid)
            if before is None or before.lengths != lengths:
                self._files[run_uid] = _Files(lengths, now, "its files are or were growing")
            elif not before.taken and now - before.since >= self._quiet_s:
                happenings, text = self._router.catch_up(run_uid, lengths)
                frames = self._agent.take(happenings)
                if frames:
                    _log.info("run is quiet, its files were asked", run=run_uid, frames=frames)
                self._files[run_uid] = _Files(lengths, before.since, text, taken=True)
                self._ledger.note(run_uid, f"open, nothing new since: {text}")

    def _lengths(self, run_uid: str) -> dict[tuple[str, str], int]:
        lengths: dict[tuple[str, str], int] = {}
        for uri, dataset in self._router.datasets(run_uid):
            try:
                lengths[uri, dataset] = self._reader.length(uri, dataset)
            except (BadFrame, Unavailable) as error:
                _log.debug("file cannot be asked", run=run_uid, reason=str(error))
        return lengths

    def _finish(self, look: _Look) -> None:
        for run_uid, future in look.runs.items():
            frames, text = self._from_archive(run_uid, future)
            look.found += frames
            self._conclude(look, run_uid, text)
        owed = {name: _owed(future) for name, future in look.audits.items()}
        if look.request is not None:
            stores = "".join(f", {name}: {text}" for name, text in owed.items())
            answer = (
                f"{len(look.runs)} open or incomplete runs looked into: {look.found} frames found, "
                f"{look.ended} runs closed{stores}"
            )
            self._ledger.answer_request(look.request, answer)
            _log.info("books reconciled", answer=answer)

    def _from_archive(self, run_uid: str, future: Future[Answer]) -> tuple[int, str]:
        if not future.done():
            return 0, "Tiled has not answered"
        try:
            documents = future.result()
        except QdError as error:
            return 0, str(error)
        if documents is None:
            return 0, "Tiled does not have the run"
        frames = self._agent.take(_happenings(self._new_router(), documents))
        name, doc = documents[-1]
        if name != "stop":
            return frames, "Tiled has no stop document either"
        if run_uid in self._router.open_runs():
            self._agent.note(name, doc)
        return frames, ""

    def _conclude(self, look: _Look, run_uid: str, archive: str) -> None:
        """Write down what is known of a run now."""
        record = next(iter(self._ledger.runs(run_uid)), None)
        if record is None:
            return
        look.ended += record.exit_status is not None and run_uid in look.open_before
        if record.exit_status is None:
            files = self._files[run_uid].text if run_uid in self._files else ""
            reasons = "; ".join(filter(None, (files, archive)))
            self._ledger.note(run_uid, f"open, nothing new since: {reasons}")
        elif record.missing:
            self._ledger.note(run_uid, f"{record.missing} frames are missing: {archive}")
        else:
            self._ledger.note(run_uid, "")


def _owed(future: Future[int]) -> str:
    if not future.done():
        return "has not answered"
    try:
        count = future.result()
    except QdError as error:
        return str(error)
    return f"{count} predictions again" if count else "complete"


def _happenings(router: DocumentRouter, documents: Sequence[Document]) -> list[Happening]:
    found: list[Happening] = []
    for name, doc in documents:
        try:
            found += router.route(name, doc)
        except BadFrame as error:
            _log.warning("document from Tiled refused", document=name, reason=str(error))
    return found
