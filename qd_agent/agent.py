"""The path itself: a document comes in, and every frame that it announces gets its answer.

No threads and no stores here: `Agent.note` takes one document and returns when the ledger holds
what it made known, `Agent.work` answers one frame. Whoever calls them decides when.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Protocol

import structlog

from qd_agent.answers import Answers, Patience, Stages
from qd_agent.companions import Companions
from qd_agent.core.errors import BadFrame
from qd_agent.core.frame import FrameKey, FrameReference, Happening, RunClosed, RunOpened
from qd_agent.core.ports import Document
from qd_agent.core.prediction import Prediction, Provenance
from qd_agent.documents import open_keepsakes
from qd_agent.ledger import DARK, SAMPLE, Ledger
from qd_agent.refusals import Refusals
from qd_agent.run_search import RunFinder, RunSearch

_log = structlog.get_logger(__name__)


class DocumentRouter(Protocol):
    """Turns documents into what happened (see `qd_agent.documents.router`)."""

    def route(self, name: str, doc: Mapping[str, object]) -> list[Happening]:
        """Give what this document makes known. Raises BadFrame for a malformed one."""
        ...

    def waiting_darks(self) -> list[Happening]:
        """Give the darks that wait for their event; they do so no longer."""
        ...

    def remember(self, taken: Iterable[tuple[FrameKey, float]]) -> None:
        """Take frames for known that an earlier process took, by key and time (UTC epoch s)."""
        ...


class Agent:
    """Documents in, answers in the ledger. What waits, waits there.

    Args:
        router: turns documents into frame references.
        stages: reader, reducer and sizer.
        ledger: the books.
        provenance: what is the same for every prediction of this process.
        streams: streams whose frames are samples; the account of a run counts these.
        dark_streams: streams whose frames are darks, not samples.
        on_answer: called with each answer once it is in the ledger (to wake the deliveries).
        patience: how often a frame is tried that is away.
        newest_first: whether the newest of the frames never tried goes first, or the oldest.
        stopping: asked whether the process is to end; a frame in hand is then put back.
        finder: gives the frames of dark and background runs that the books do not know.
    """

    def __init__(
        self,
        router: DocumentRouter,
        stages: Stages,
        ledger: Ledger,
        *,
        provenance: Provenance,
        streams: frozenset[str],
        dark_streams: frozenset[str],
        on_answer: Callable[[Prediction], None] = lambda _: None,
        patience: Patience | None = None,
        newest_first: bool = True,
        stopping: Callable[[], bool] = lambda: False,
        finder: RunFinder | None = None,
    ) -> None:
        self._router, self._ledger = router, ledger
        self._streams, self._dark_streams = streams, dark_streams
        self._companions = Companions(
            ledger, RunSearch(ledger, finder), stages.reader, stages.reducer, dark_streams
        )
        self._answers = Answers(
            stages,
            ledger,
            self._companions,
            provenance=provenance,
            on_answer=on_answer,
            patience=patience or Patience(),
            newest_first=newest_first,
            stopping=stopping,
        )
        self._closed: set[str] = set()
        self._keepsakes = open_keepsakes()
        self._refusals = Refusals("document refused")

    # -- documents -------------------------------------------------------------------------

    def step(self, name: str, doc: Mapping[str, object]) -> None:
        """Take one document and answer every frame that waits."""
        self.note(name, doc)
        self.work_all()

    def note_all(self, documents: Iterable[Document]) -> None:
        """Take documents into the books, all at once; no frame is read."""
        with self._ledger.together():
            for name, doc in documents:
                self.note(name, doc)

    def note(self, name: str, doc: Mapping[str, object]) -> None:
        """Take one document into the books; no frame is read."""
        try:
            happenings = self._router.route(name, doc)
            keepsake = self._keepsakes.of(name, doc)
        except BadFrame as error:
            self._refusals.take(error, document=name)
            return
        with self._ledger.together():
            if keepsake is not None:
                self._ledger.keep_document(keepsake[0], *keepsake[1])
            self.enter(happenings)

    def take(self, happenings: Iterable[Happening]) -> int:
        """Write down at once what was found outside of the stream of documents; as `enter`."""
        with self._ledger.together():
            return self.enter(happenings)

    def enter(self, happenings: Iterable[Happening]) -> int:
        """Write down what happened; give how many sample frames were new."""
        return sum([self._enter(happening) for happening in happenings])

    def knows(self, run_uid: str) -> bool:
        """Tell whether a run is in the books."""
        return self._ledger.knows(run_uid)

    def recover(self) -> int:
        """Take up what an earlier process has left; give how many frames wait for an answer.

        The router hears of the runs again that were open, so that their next documents make sense
        and show which frames were missed meanwhile.
        """
        self.note_all(self._ledger.kept_documents())
        # Events are not kept: whether one of a number that comes again is a repeat, its time tells.
        self._router.remember(self._ledger.taken())
        # Their events may have come to the old process, and frames in the books need them.
        self.take(self._router.waiting_darks())
        return self._ledger.adopt()

    def _enter(self, happening: Happening) -> bool:
        if isinstance(happening, RunOpened):
            if self._ledger.open_run(happening):
                _log.info("run opened", run=happening.run_uid)
            self._forget_closed_runs()
            return False
        if isinstance(happening, RunClosed):
            self._close(happening)
            return False
        if happening.key.stream not in self._dark_streams:
            return self._ledger.see(happening, SAMPLE)
        if self._ledger.see(happening, DARK):
            self._companions.hear(happening)
        return False

    def _close(self, run: RunClosed) -> None:
        # Darks are not in the account: what is expected is what is to be answered.
        expected = {s: n for s, n in run.expected.items() if s in self._streams}
        frames = {s: n for s, n in run.frames.items() if s in self._streams}
        run = replace(run, expected=expected, frames=frames)
        if not self._ledger.close_run(run):
            if self._ledger.correct_run(run):
                _log.info("run's stop corrected", run=run.run_uid, status=run.exit_status)
            return
        self._closed.add(run.run_uid)
        self._keepsakes.forget(run.run_uid)
        (record,) = self._ledger.runs(run.run_uid)
        counts = record.account.as_counts()
        log = _log.info
        if record.missing or run.assumed:
            self._ledger.agenda.add(run.run_uid, time.time())
            log = _log.warning
        log(
            "run closed",
            run=run.run_uid,
            status=run.exit_status,
            expected=record.expected,
            **counts,
        )

    def _forget_closed_runs(self) -> None:
        # Not at the stop itself: frames that it made known, or that are away, still need the dark.
        for run_uid in self._closed - self._ledger.runs_with_work():
            self._companions.forget(run_uid)
            self._closed.discard(run_uid)

    # -- frames ----------------------------------------------------------------------------

    def work(self, now: float | None = None, run_uid: str | None = None) -> FrameReference | None:
        """Answer the frame whose turn it is at `now` (UTC epoch s); see `Answers.work`."""
        return self._answers.work(now, run_uid)

    def let_go(self, run_uid: str) -> None:
        """Free what was kept for a run's frames, all of which have their answer."""
        self._companions.forget(run_uid)

    def work_all(self) -> int:
        """Answer every frame whose turn has come; give how many were taken in hand."""
        return self._answers.work_all()
