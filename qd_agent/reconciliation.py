"""The books against the world: runs whose end was missed, frames never announced, emptied stores.

Documents are a wake-up call; the truth lies in the files and in Tiled. A look at the books asks
the files how many frames they hold, Tiled what it knows of runs that are open or incomplete, and
the stores what they hold. It runs beside the path: `turn` never waits.

Which runs are to be looked up stands on the ledger's agenda, with the time of the next look: runs
that stopped incomplete, open runs that have gone quiet, and runs that the catalog names and no
document did (`discovery`). They stay there until their books are whole, or too old.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import chain
from typing import Protocol

import structlog

from qd_agent.agent import Agent
from qd_agent.archivist import Answer
from qd_agent.core.errors import QdError, Unavailable
from qd_agent.discovery import Discovery
from qd_agent.ledger import Ledger, Look
from qd_agent.ledger.settings import ReconcileSettings
from qd_agent.quiet_runs import QuietRuns
from qd_agent.retelling import Following, Told, retell

_log = structlog.get_logger(__name__)

PATIENCE_S = 120.0
"""Longest time in which neither Tiled nor the stores say anything while a look waits for them."""
AT_ONCE = 10
"""Runs that one look asks Tiled for; those that an operator asks about are all asked for."""
_POLL_S = 0.5


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
    audits: dict[str, list[Future[int]]] = field(default_factory=dict[str, list[Future[int]]])
    open_before: frozenset[str] = frozenset()
    heard: int = 0
    heard_at: float = 0.0
    found: int = 0
    ended: int = 0

    def over(self, now: float) -> bool:
        """Tell whether everybody has answered, or nobody has for PATIENCE_S."""
        asked = [*self.runs.values(), *chain.from_iterable(self.audits.values())]
        answers = sum(future.done() for future in asked)
        if answers > self.heard:
            self.heard, self.heard_at = answers, now
        return answers == len(asked) or now - self.heard_at > PATIENCE_S


class Reconciliation:
    """Looks into the books when asked to, at the start, and when something is on the agenda.

    Args:
        agent: takes in what is found.
        ledger: the books and the agenda.
        router: the agent's own.
        new_router: gives a fresh one, for runs as Tiled tells them.
        archive: asks Tiled for a run.
        auditors: one for each sink, by its name.
        discovery: finds runs of which no document came.
        quiet: finds open runs whose files do not grow.
        settings: when an incomplete run is looked up again.
    """

    def __init__(
        self,
        agent: Agent,
        ledger: Ledger,
        router: Following,
        *,
        new_router: Callable[[], Following],
        archive: Callable[[str], Future[Answer]],
        auditors: Mapping[str, Auditing],
        discovery: Discovery,
        quiet: QuietRuns,
        settings: ReconcileSettings,
    ) -> None:
        self._agent, self._ledger, self._router = agent, ledger, router
        self._new_router = new_router
        self._archive, self._auditors = archive, auditors
        self._discovery, self._quiet, self._settings = discovery, quiet, settings
        self._look: _Look | None = None
        self._waiting_request: int | None = None
        self._next_poll = self._next_due = 0.0
        self._strangers = 0

    @property
    def idle(self) -> bool:
        """Whether nothing is in progress and none is asked for."""
        busy = self._look is not None or self._discovery.busy or self._waiting_request is not None
        return not busy and self._ledger.next_request() is None

    def begin(self) -> None:
        """Look into every open or incomplete run, as after a start, and into the catalog.

        The stores are asked by their couriers.
        """
        now = time.time()
        with self._ledger.together():
            for run_uid in self._unfinished():
                self._ledger.agenda.add(run_uid, now)
        self._discovery.begin()

    def turn(self) -> None:
        """Go on with what is in progress, or begin the next thing that is due."""
        self._discovery.turn()
        now = time.monotonic()
        if self._look is not None:
            if self._look.over(now):
                look, self._look = self._look, None
                self._finish(look)
            return
        if self._waiting_request is not None:
            if not self._discovery.busy:
                self._start_for(self._waiting_request)
            return
        if now < self._next_poll:
            return
        self._next_poll = now + _POLL_S
        if self._router.strangers > self._strangers:
            self._strangers = self._router.strangers
            self._discovery.hasten()
        self._begin_what_is_due(now)

    def _begin_what_is_due(self, now: float) -> None:
        request = self._ledger.next_request()
        if request is not None:
            if request.run_uid is not None:
                self._start([request.run_uid], request.number, audited=[request.run_uid])
            else:
                self._discovery.begin()
                self._waiting_request = request.number
        elif now >= self._next_due and (due := self._ledger.agenda.due(time.time(), AT_ONCE)):
            self._start([look.run_uid for look in due if not self._is_whole(look.run_uid)])
        else:
            self._quiet.turn()

    def _start_for(self, request: int) -> None:
        """Do what an operator has asked for: everything."""
        self._waiting_request = None
        runs = dict.fromkeys([*self._unfinished(), *self._ledger.agenda.all()])
        self._start(list(runs), request, audited=self._ledger.run_uids())

    def _start(
        self, runs: Sequence[str], request: int | None = None, audited: Sequence[str] = ()
    ) -> None:
        if request is not None:
            for run_uid in runs:
                self._ledger.agenda.add(run_uid, time.time())
        asked = self._auditors.items() if audited else ()
        self._look = _Look(
            request,
            runs={uid: self._archive(uid) for uid in runs},
            # Run by run: a store that is slow with hundreds of them is heard of all the while.
            audits={name: [auditor.audit([uid]) for uid in audited] for name, auditor in asked},
            open_before=frozenset(filter(self._is_open, runs)),
            heard_at=time.monotonic(),
        )

    def _unfinished(self) -> list[str]:
        """Give the runs of the books that are open or lack frames."""
        return [record.uid for record in self._ledger.runs() if not record.whole]

    def _is_open(self, run_uid: str) -> bool:
        return any(record.exit_status is None for record in self._ledger.runs(run_uid))

    def _is_whole(self, run_uid: str) -> bool:
        """Tell whether a run needs no look any more; it then leaves the agenda."""
        record = next(iter(self._ledger.runs(run_uid)), None)
        if record is None or not record.whole:
            return False
        self._ledger.agenda.drop(run_uid)
        self._ledger.note(run_uid, "")
        return True

    # -- what came of a look ---------------------------------------------------------------

    def _finish(self, look: _Look) -> None:
        for run_uid, future in look.runs.items():
            told = self._told(run_uid, future)
            look.found += told.frames
            self._conclude(look, run_uid, told)
        if look.request is not None:
            answer = _sentence(look, self._discovery)
            self._ledger.answer_request(look.request, answer)
            _log.info("books reconciled", answer=answer)

    def _told(self, run_uid: str, future: Future[Answer]) -> Told:
        if not future.done():
            return Told("Tiled has not answered", away=True)
        try:
            documents = future.result()
        except QdError as error:
            return Told(str(error), away=isinstance(error, Unavailable))
        if documents is None:
            return Told("Tiled does not have the run", absent=True)
        return retell(documents, self._agent, self._router, self._new_router())

    def _conclude(self, look: _Look, run_uid: str, told: Told) -> None:
        """Write down what is known of a run now, and when it is looked up again."""
        record = next(iter(self._ledger.runs(run_uid)), None)
        if record is None:
            note = told.text
        elif record.exit_status is None:
            reasons = "; ".join(filter(None, (self._quiet.told(run_uid), told.text)))
            note = f"open, nothing new since: {reasons}"
        elif record.missing:
            reason = told.text or "Tiled does not have them either"
            note = f"{record.missing} frames are missing: {reason}"
        else:
            note = told.text if record.assumed else ""
        if record is not None:
            look.ended += record.exit_status is not None and run_uid in look.open_before
            self._ledger.note(run_uid, note)
        mistaken = record is None and told.absent and look.request is not None
        if told.nothing_of_ours or mistaken or (record is not None and record.whole):
            self._ledger.agenda.drop(run_uid)
        else:
            self._put_off(run_uid, note, told)

    def _put_off(self, run_uid: str, note: str, told: Told) -> None:
        entry = self._ledger.agenda.get(run_uid)
        if entry is None:
            return
        if told.away:
            self._next_due = time.monotonic() + self._settings.find_every_s
        now = time.time()
        due: float | None = now + _jittered(self._wait(entry, told))
        if not told.away and now - entry.began > 3600.0 * self._settings.look_hours:
            due = None
            _log.warning("run is looked up no more", run=run_uid, reason=note)
        self._ledger.agenda.put_off(
            run_uid, due, note, asked=not told.away, found_at=now if told.frames else None
        )

    def _wait(self, entry: Look, told: Told) -> float:
        """Give the seconds until the next look: twice as long each time, while nothing is found."""
        settings = self._settings
        if told.away:
            return settings.look_first_s
        if told.frames:
            return min(max(settings.look_first_s, settings.find_every_s), settings.look_longest_s)
        return min(settings.look_first_s * 2.0 ** min(entry.tries, 40), settings.look_longest_s)


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(0.75, 1.25)  # noqa: S311 - no secret


def _sentence(look: _Look, discovery: Discovery) -> str:
    owed = {name: _owed(futures) for name, futures in look.audits.items()}
    parts = [
        f"{len(look.runs)} open or incomplete runs looked into: {look.found} frames found, "
        f"{look.ended} runs closed"
    ]
    found = discovery.take_found()
    if discovery.told:
        parts.append(discovery.told)
    elif found:
        parts.append(
            f"{found} runs of which nothing had been heard were found in the catalog since the "
            "last answer"
        )
    return ", ".join([*parts, *(f"{name}: {text}" for name, text in owed.items())])


def _owed(futures: Sequence[Future[int]]) -> str:
    answered = [future for future in futures if future.done()]
    try:
        count = sum(future.result() for future in answered)
    except QdError as error:
        return str(error)
    told = f"{count} predictions again" if count else "complete"
    if len(answered) == len(futures):
        return told
    if not answered:
        return "has not answered"
    return f"{told} for {len(answered)} runs, has not answered for {len(futures) - len(answered)}"
