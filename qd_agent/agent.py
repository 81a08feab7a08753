"""The path itself: a document comes in, and every frame that it announces gets its answer.

No threads and no stores here: `Agent.note` takes one document and returns when the ledger holds
what it made known, `Agent.work` answers one frame. Whoever calls them decides when.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
import structlog

from qd_agent.away import AwayFiles
from qd_agent.companions import Companions, RunReducer
from qd_agent.core.errors import BadFrame, Unavailable
from qd_agent.core.frame import FrameReference, Happening, RunClosed, RunOpened
from qd_agent.core.ports import Document, FrameReader, Sizer
from qd_agent.core.prediction import Estimate, Prediction, Provenance, Sized, Verdict
from qd_agent.documents import open_keepsakes
from qd_agent.ledger import DARK, SAMPLE, Ledger, Todo
from qd_agent.refusals import Refusals
from qd_agent.run_search import RunFinder, RunSearch

_log = structlog.get_logger(__name__)

MAX_CRASHES = 5
"""A damaged file can take the process with it (HDF5 is not proof against that); not for ever. With
three, a campaign that kills for reasons of its own once met the same good frame three times."""
TRIES_WITHOUT_DARK = 3
"""How often a frame is put off because its dark or background is away; then it goes without."""


class DocumentRouter(Protocol):
    """Turns documents into what happened (see `qd_agent.documents.router`)."""

    def route(self, name: str, doc: Mapping[str, object]) -> list[Happening]:
        """Give what this document makes known. Raises BadFrame for a malformed one."""
        ...

    def waiting_darks(self) -> list[Happening]:
        """Give the darks that wait for their event; they do so no longer."""
        ...


@dataclass(frozen=True, slots=True)
class Stages:
    """The rooms that a frame passes through, in order."""

    reader: FrameReader
    reducer: RunReducer
    sizer: Sizer


@dataclass(frozen=True, slots=True)
class Patience:
    """How often, and when, a frame is tried again that is away (`Unavailable`).

    Attributes:
        delays_s: waits between tries, s; the last one repeats.
        tries_after_stop: tries after the run has stopped; before that there is no limit.
    """

    delays_s: Sequence[float] = (1.0, 5.0, 15.0, 30.0, 60.0)
    tries_after_stop: int = 8

    def wait(self, todo: Todo) -> float | None:
        """Give the seconds until the next try after one more in vain; None: there is none."""
        if todo.stopped and todo.late + 1 >= self.tries_after_stop:
            return None
        return self.delays_s[min(todo.late if todo.stopped else todo.tries, len(self.delays_s) - 1)]


@dataclass(slots=True)
class _Stopwatch:
    """Times the stages of one frame, in ms."""

    laps: dict[str, float] = field(default_factory=dict[str, float])
    _last: float = field(default_factory=time.perf_counter)

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.laps[stage] = round((now - self._last) * 1e3, 3)
        self._last = now


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
        self._router, self._stages, self._ledger = router, stages, ledger
        self._provenance = provenance
        self._streams, self._dark_streams = streams, dark_streams
        self._on_answer, self._stopping = on_answer, stopping
        self._patience = patience or Patience()
        self._newest_first = newest_first
        self._retry_next = False
        self._away = AwayFiles(ledger)
        self._companions = Companions(
            ledger, RunSearch(ledger, finder), stages.reader, stages.reducer, dark_streams
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
        counts = self._ledger.account(run.run_uid).as_counts()
        announced = sum(frames.get(stream, events) for stream, events in expected.items())
        log = _log.info
        if counts["seen"] < announced or run.assumed:
            self._ledger.agenda.add(run.run_uid, time.time())
            log = _log.warning
        log("run closed", run=run.run_uid, status=run.exit_status, expected=announced, **counts)

    def _forget_closed_runs(self) -> None:
        # Not at the stop itself: frames that it made known, or that are away, still need the dark.
        for run_uid in self._closed - self._ledger.runs_with_work():
            self._companions.forget(run_uid)
            self._closed.discard(run_uid)

    # -- frames ----------------------------------------------------------------------------

    def work(self, now: float | None = None) -> FrameReference | None:
        """Answer the frame whose turn it is, or put it off; None when no frame's turn has come.

        Frames never tried and frames to be tried again take turns, so that neither holds up the
        other. A frame that an earlier process did not come back from waits behind both, so that
        one that ends every process holds up none.

        Args:
            now: UTC epoch s.
        """
        todo = self._next(time.time() if now is None else now)
        if todo is None:
            return None
        self._attempt(todo)
        return todo.reference

    def work_all(self) -> int:
        """Answer every frame whose turn has come; give how many were taken in hand."""
        count = 0
        while not self._stopping() and self.work() is not None:
            count += 1
        return count

    def _next(self, now: float) -> Todo | None:
        self._retry_next = not self._retry_next
        ledger, newest_first = self._ledger, self._newest_first
        if self._retry_next:
            todo = ledger.next_frame(newest_first=newest_first) or ledger.next_retry(now)
        else:
            todo = ledger.next_retry(now) or ledger.next_frame(newest_first=newest_first)
        return todo or ledger.next_interrupted(now)

    def _attempt(self, todo: Todo) -> None:
        watch = _Stopwatch()
        crashes = self._ledger.begin(todo.reference.key)
        if crashes >= MAX_CRASHES:
            reason = f"the agent did not survive reading this frame {crashes} times"
            self._set_aside(todo, reason, watch)
            return
        try:
            sized = self._path(todo, watch)
        except BadFrame as error:
            self._set_aside(todo, str(error), watch)
        except Unavailable as error:
            self._put_off(todo, str(error), watch)
        else:
            self._write(todo, sized.estimate, watch, sized)

    def _path(self, todo: Todo, watch: _Stopwatch) -> Sized:
        if todo.reference.declared.conflict:
            raise BadFrame(todo.reference.declared.conflict)
        away = self._companions.bring(todo.reference)
        more_tries = todo.tries < TRIES_WITHOUT_DARK and self._patience.wait(todo) is not None
        if away is not None and more_tries:
            raise Unavailable(away)
        frame = self._stages.reader.read(todo.reference)
        watch.lap("read")
        pattern = self._stages.reducer.reduce(frame)
        watch.lap("reduce")
        (sized,) = self._stages.sizer.size([pattern])
        watch.lap("size")
        return sized

    def _put_off(self, todo: Todo, reason: str, watch: _Stopwatch) -> None:
        key = todo.reference.key
        if self._stopping():
            self._ledger.put_back(key)
            return
        wait = self._patience.wait(todo)
        if wait is None:
            self._set_aside(todo, f"{reason} (given up after {todo.tries + 1} tries)", watch)
            return
        # At least a millisecond, since a frame that was never tried is due at 0.
        self._ledger.put_off(todo, due=time.time() + max(wait, 1e-3))
        self._away.put_off(todo.reference, reason, wait)

    def _set_aside(self, todo: Todo, reason: str, watch: _Stopwatch) -> None:
        self._write(todo, Estimate(verdict=Verdict.BAD_FRAME, reason=reason), watch)

    def _write(
        self, todo: Todo, estimate: Estimate, watch: _Stopwatch, sized: Sized | None = None
    ) -> None:
        reference = todo.reference
        flags = () if sized is None else sized.pattern.flags + reference.declared.flags
        readings = {**reference.readings, **reference.declared.as_readings()}
        made_from = self._stages.reducer.made_from(reference)
        quality = {} if sized is None else sized.pattern.quality
        prediction = Prediction(
            **estimate.model_dump(exclude={"flags", "quality"}),
            quality={**quality, **estimate.quality},
            flags=tuple(dict.fromkeys((*estimate.flags, *flags))),
            key=reference.key,
            revision=todo.revision,
            frame_time=reference.time,
            publication_time=time.time(),
            readings={k: float(v) for k, v in readings.items() if math.isfinite(v)},
            provenance=self._provenance.model_copy(update=dict(made_from)),
            latency_ms=watch.laps,
        )
        self._ledger.predict(prediction, *_curves(sized))
        self._on_answer(prediction)
        set_aside = prediction.verdict is Verdict.BAD_FRAME
        log = _log.debug if set_aside and todo.tries else _log.info
        log(
            "frame answered",
            frame=str(reference.key),
            verdict=prediction.verdict.value,
            diameter_nm=prediction.diameter_nm,
            reason=prediction.reason or None,
        )
        if todo.tries:
            self._away.answered(reference, set_aside=set_aside)


def _curves(
    sized: Sized | None,
) -> tuple[npt.NDArray[np.float32] | None, npt.NDArray[np.float32] | None]:
    """Give the pattern and the explaining model as float32, or None where there is none."""
    if sized is None:
        return None, None
    intensity = sized.pattern.intensity.astype(np.float32)
    if sized.explanation is None:
        return intensity, None
    return intensity, sized.explanation.model.astype(np.float32)
