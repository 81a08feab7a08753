"""Where the frames of a dark or background run are: in the books, or in the archive."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import structlog

from qd_agent.archivist import Answer
from qd_agent.core.errors import BadFrame, QdError, Unavailable
from qd_agent.core.frame import FrameReference, Happening, InlineLocation, NoLocation
from qd_agent.core.ports import Document
from qd_agent.ledger import Ledger

_log = structlog.get_logger(__name__)

ASK_AGAIN_S = 60.0
"""A run that is not to be had is asked for again after so long, not for each frame."""
WAIT_S = 30.0
"""An archive that has not answered by then is not waited for; its answer is taken when it comes."""

REMEMBERED = 1000
"""Runs that were not to be had; beyond it the oldest is forgotten, and asked for anew."""


@dataclass(frozen=True, slots=True)
class RunFinder:
    """Gives what is known of runs that are not in the books.

    Attributes:
        look: asks the archive for a run's documents; None: it does not have the run.
        happenings: gives what a run's documents make known, to a router that knows nothing else.
    """

    look: Callable[[str], Future[Answer]]
    happenings: Callable[[Sequence[Document]], Sequence[Happening]]


@dataclass(slots=True)
class _Asked:
    """A run that is being looked for, or was not to be had."""

    future: Future[Answer] | None = None
    since: float = 0.0
    failed: float | None = None


@dataclass(slots=True)
class RunSearch:
    """Finds the frames of runs. Use it from one thread at a time; it never waits.

    Attributes:
        ledger: knows the runs that this agent has heard of.
        finder: knows the others; None: nobody does.
        now: gives the time, s; it must not go back.
    """

    ledger: Ledger
    finder: RunFinder | None
    now: Callable[[], float] = time.monotonic
    _asked: dict[str, _Asked] = field(default_factory=dict)

    def references(self, run_uid: str) -> list[FrameReference]:
        """Give the frames of a run that has ended, those that are darks too.

        Raises:
            Unavailable: it may be had soon.
            BadFrame: it is not to be had now, and not worth waiting for.
        """
        asked = self._asked.get(run_uid)
        if asked is not None and asked.failed is not None:
            if self.now() - asked.failed < ASK_AGAIN_S:
                raise BadFrame("not to be had a moment ago")
            asked.failed = None
        records = self.ledger.runs(run_uid)
        if records:
            if records[0].exit_status is None:
                raise Unavailable("it has not ended")
            references = self.ledger.frames(run_uid)
            if references and not any(map(_is_gone, references)):
                return references
        return self._from_archive(run_uid)

    def give_up(self, run_uid: str, reason: str) -> None:
        """Remember that a run is not to be had, and say so once in a while."""
        asked = self._asked.setdefault(run_uid, _Asked())
        while len(self._asked) > REMEMBERED:
            del self._asked[next(iter(self._asked))]
        if asked.failed is None:
            asked.failed = self.now()
            _log.warning("dark or background not used", run=run_uid, reason=reason)

    def _from_archive(self, run_uid: str) -> list[FrameReference]:
        if self.finder is None:
            raise BadFrame("it is not in the books")
        documents = self._documents(self.finder, run_uid)
        if documents is None:
            raise BadFrame("neither the books nor Tiled have it")
        if documents[-1][0] != "stop":
            raise BadFrame("it has not ended in Tiled")
        found = [h for h in self.finder.happenings(documents) if isinstance(h, FrameReference)]
        if not found:
            raise BadFrame("it has no frames of a detector that is sized")
        return found

    def _documents(self, finder: RunFinder, run_uid: str) -> Answer:
        asked = self._asked.setdefault(run_uid, _Asked())
        if asked.future is None:
            asked.future, asked.since = finder.look(run_uid), self.now()
        if not asked.future.done():
            if self.now() - asked.since > WAIT_S:
                raise BadFrame("Tiled does not answer")
            raise Unavailable("it is looked for in Tiled")
        future, asked.future = asked.future, None
        try:
            return future.result()
        except QdError as error:
            raise BadFrame(str(error)) from error


def _is_gone(reference: FrameReference) -> bool:
    """Tell whether the books hold nothing that leads to the pixels (any more)."""
    if isinstance(reference.location, InlineLocation):
        return reference.array is None
    return isinstance(reference.location, NoLocation)
