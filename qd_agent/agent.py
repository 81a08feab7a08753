"""The path itself: a document comes in, and every frame that it announces gets its answer.

No threads and no stores here: `Agent.step` takes one document and returns when the ledger holds
what came of it. Whoever calls it decides when and on which thread.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
import structlog

from qd_agent.core.errors import BadFrame, Unavailable
from qd_agent.core.frame import Frame, FrameKey, FrameReference, Happening, RunClosed, RunOpened
from qd_agent.core.ports import FrameReader, Reducer, Sizer
from qd_agent.core.prediction import Estimate, Prediction, Provenance, Sized, Verdict
from qd_agent.ledger import DARK, SAMPLE, Ledger

_log = structlog.get_logger(__name__)

RETRY_DELAYS_S = (1.0, 5.0, 15.0, 30.0)
"""Waits before a frame that is away (`Unavailable`) is tried again; after the last it is bad."""
MAX_CRASHES = 3
"""A damaged file can take the process with it (HDF5 is not proof against that); not for ever."""

_KEPT = frozenset({"start", "descriptor", "stream_resource", "stream_datum"})
"""Documents by which a new process knows what an open run has announced. Events are not among
them: a frame whose event came to the old process goes on without readings."""


class DocumentRouter(Protocol):
    """Turns documents into what happened (see `qd_agent.documents.router`)."""

    def route(self, name: str, doc: Mapping[str, object]) -> list[Happening]:
        """Give what this document makes known. Raises BadFrame for a malformed one."""
        ...


class RunReducer(Reducer, Protocol):
    """A reducer that also keeps the dark image of each run."""

    def add_dark(self, frame: Frame) -> None:
        """Take a dark frame into its run's mean."""
        ...

    def dark_hash(self, run_uid: str) -> str:
        """Name the dark that is subtracted in this run; empty when there is none."""
        ...

    def forget_run(self, run_uid: str) -> None:
        """Free the run's dark."""
        ...


@dataclass(frozen=True, slots=True)
class Stages:
    """The rooms that a frame passes through, in order."""

    reader: FrameReader
    reducer: RunReducer
    sizer: Sizer


@dataclass(slots=True)
class _Waiting:
    reference: FrameReference
    attempt: int
    due: float


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
    """Documents in, answers in the ledger.

    Args:
        router: turns documents into frame references.
        stages: reader, reducer and sizer.
        ledger: the books.
        provenance: what is the same for every prediction of this process.
        streams: streams whose frames are samples; the account of a run counts these.
        dark_streams: streams whose frames are darks, not samples.
        on_answer: called after each answer is in the ledger (to wake the deliveries).
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
        on_answer: Callable[[], None] = lambda: None,
    ) -> None:
        self._router, self._stages, self._ledger = router, stages, ledger
        self._provenance = provenance
        self._streams, self._dark_streams = streams, dark_streams
        self._on_answer = on_answer
        self._prepared: set[str] = set()
        self._closed: set[str] = set()
        self._descriptors: dict[str, str] = {}
        self._waiting: dict[FrameKey, _Waiting] = {}

    def step(self, name: str, doc: Mapping[str, object]) -> None:
        """Take one document and answer every frame that it makes known."""
        for happening in self.note(name, doc):
            self.answer(happening)

    def note(
        self, name: str, doc: Mapping[str, object], *, read_darks: bool = True
    ) -> list[FrameReference]:
        """Take one document into the books only; give the new sample frames, unanswered.

        Without `read_darks` no file is touched: a next process takes the darks out of the books.
        """
        try:
            happenings = self._router.route(name, doc)
        except BadFrame as error:
            _log.warning("document refused", document=name, reason=str(error))
            return []
        run_uid = self._run_of(name, doc)
        if name in _KEPT and run_uid is not None:
            self._ledger.keep_document(run_uid, name, doc)
        return self._enter_all(happenings, read_darks=read_darks)

    def _run_of(self, name: str, doc: Mapping[str, object]) -> str | None:
        """Give the run that a document to be kept belongs to, where that can be said."""
        if name == "start":
            return str(doc["uid"])
        if name == "stream_datum":
            return self._descriptors.get(str(doc.get("descriptor")))
        run_uid = doc.get("run_start")
        if run_uid is not None and name == "descriptor":
            self._descriptors[str(doc["uid"])] = str(run_uid)
        return None if run_uid is None else str(run_uid)

    def _enter_all(self, happenings: list[Happening], *, read_darks: bool) -> list[FrameReference]:
        entered = [self._enter(happening, read_darks=read_darks) for happening in happenings]
        return [reference for reference in entered if reference is not None]

    def answer(self, reference: FrameReference) -> None:
        """Read, reduce and size one seen frame, and write the answer down."""
        self._prepare(reference.key.run_uid)
        self._attempt(_Waiting(reference, attempt=0, due=0.0))

    def retry(self, now: float | None = None) -> None:
        """Try the frames again that were away and whose time has come."""
        now = time.monotonic() if now is None else now
        for waiting in [w for w in self._waiting.values() if w.due <= now]:
            del self._waiting[waiting.reference.key]
            self._attempt(waiting)

    def recover(self, stopping: Callable[[], bool] = lambda: False) -> int:
        """Take up what an earlier process has left; give how many frames were answered.

        The router hears of the runs again that were open, so that their next documents make sense
        and show which frames were missed meanwhile.
        """
        for name, doc in self._ledger.kept_documents():
            self.note(name, doc)
        answered = 0
        for reference in self._ledger.unanswered():
            if stopping():
                break
            self.answer(reference)
            answered += 1
        return answered

    @property
    def waiting(self) -> int:
        """Number of frames that are away and will be tried again."""
        return len(self._waiting)

    def _enter(self, happening: Happening, *, read_darks: bool) -> FrameReference | None:
        if isinstance(happening, RunOpened):
            self._ledger.open_run(happening)
            self._forget_closed_runs()
            _log.info("run opened", run=happening.run_uid)
            return None
        if isinstance(happening, RunClosed):
            return self._close(happening)
        if happening.key.stream in self._dark_streams:
            if read_darks:
                self._prepare(happening.key.run_uid)
            if self._ledger.see(happening, DARK) and read_darks:
                self._add_dark(happening)
            return None
        return happening if self._ledger.see(happening, SAMPLE) else None

    def _close(self, run: RunClosed) -> None:
        # Darks are not in the account: what is expected is what is to be answered.
        expected = {s: n for s, n in run.expected.items() if s in self._streams}
        self._ledger.close_run(replace(run, expected=expected))
        self._closed.add(run.run_uid)
        self._descriptors = {d: r for d, r in self._descriptors.items() if r != run.run_uid}
        counts = self._ledger.account(run.run_uid).as_counts()
        announced = sum(expected.values())
        # A frame is at least an event, so fewer frames than events are a loss, never a rule.
        log = _log.warning if counts["seen"] < announced else _log.info
        log("run closed", run=run.run_uid, status=run.exit_status, expected=announced, **counts)

    def _forget_closed_runs(self) -> None:
        # Not at the stop itself: frames that it made known, or that are away, still need the dark.
        for run_uid in self._closed - {key.run_uid for key in self._waiting}:
            self._stages.reducer.forget_run(run_uid)
            self._prepared.discard(run_uid)
            self._closed.discard(run_uid)

    def _prepare(self, run_uid: str) -> None:
        """Take the darks in again that an earlier process has seen in this run."""
        if run_uid not in self._prepared:
            self._prepared.add(run_uid)
            for reference in self._ledger.darks(run_uid):
                self._add_dark(reference)

    def _add_dark(self, reference: FrameReference) -> None:
        try:
            self._stages.reducer.add_dark(self._stages.reader.read(reference))
        except (BadFrame, Unavailable) as error:
            _log.warning("dark frame not used", frame=str(reference.key), reason=str(error))

    def _attempt(self, waiting: _Waiting) -> None:
        reference, watch = waiting.reference, _Stopwatch()
        crashes = self._ledger.begin(reference.key)
        if crashes >= MAX_CRASHES:
            reason = f"the agent did not survive reading this frame {crashes} times"
            self._write(reference, Estimate(verdict=Verdict.BAD_FRAME, reason=reason), watch)
            return
        try:
            sized = self._path(reference, watch)
        except BadFrame as error:
            self._write(reference, Estimate(verdict=Verdict.BAD_FRAME, reason=str(error)), watch)
        except Unavailable as error:
            self._put_off(waiting, str(error), watch)
        else:
            self._write(reference, sized.estimate, watch, sized)

    def _path(self, reference: FrameReference, watch: _Stopwatch) -> Sized:
        frame = self._stages.reader.read(reference)
        watch.lap("read")
        pattern = self._stages.reducer.reduce(frame)
        watch.lap("reduce")
        (sized,) = self._stages.sizer.size([pattern])
        watch.lap("size")
        return sized

    def _put_off(self, waiting: _Waiting, reason: str, watch: _Stopwatch) -> None:
        if waiting.attempt >= len(RETRY_DELAYS_S):
            tries = f"{reason} (given up after {waiting.attempt + 1} tries)"
            self._write(waiting.reference, Estimate(verdict=Verdict.BAD_FRAME, reason=tries), watch)
            return
        self._ledger.put_off(waiting.reference.key)
        due = time.monotonic() + RETRY_DELAYS_S[waiting.attempt]
        key = waiting.reference.key
        self._waiting[key] = _Waiting(waiting.reference, waiting.attempt + 1, due)
        _log.warning("frame is away, will be tried again", frame=str(key), reason=reason)

    def _write(
        self,
        reference: FrameReference,
        estimate: Estimate,
        watch: _Stopwatch,
        sized: Sized | None = None,
    ) -> None:
        flags = () if sized is None else sized.pattern.flags
        dark_hash = self._stages.reducer.dark_hash(reference.key.run_uid)
        prediction = Prediction(
            **estimate.model_dump(exclude={"flags"}),
            flags=tuple(dict.fromkeys((*estimate.flags, *flags))),
            key=reference.key,
            frame_time=reference.time,
            publication_time=time.time(),
            readings={k: float(v) for k, v in reference.readings.items() if math.isfinite(v)},
            provenance=self._provenance.model_copy(update={"dark_hash": dark_hash}),
            latency_ms=watch.laps,
        )
        self._ledger.predict(prediction, *_curves(sized))
        self._on_answer()
        _log.info(
            "frame answered",
            frame=str(reference.key),
            verdict=prediction.verdict.value,
            diameter_nm=prediction.diameter_nm,
            reason=prediction.reason or None,
        )


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
