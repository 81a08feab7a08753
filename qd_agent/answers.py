"""One frame at a time gets its answer: a prediction, or a reason why there is none.

No threads and no documents here: which frames wait, and which of them is next, the ledger knows.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt
import structlog

from qd_agent.away import AwayFiles
from qd_agent.companions import Away, Companions, RunReducer
from qd_agent.core.errors import BadFrame, Fatal, Lacking, OutOfReach, StorageAway, Unavailable
from qd_agent.core.frame import FrameReference
from qd_agent.core.ports import FrameReader, Sizer
from qd_agent.core.prediction import Estimate, Prediction, Provenance, Sized, Verdict
from qd_agent.ledger import Ledger, Todo
from qd_agent.outage import Outage

_log = structlog.get_logger(__name__)

MAX_CRASHES = 5
"""A damaged file can take the process with it (HDF5 is not proof against that); not for ever. With
three, a campaign that kills for reasons of its own once met the same good frame three times."""
TRIES_WITHOUT_DARK = 3
"""How often a frame is put off because its dark or background is away; then it goes without."""
OUT_OF_REACH = "out_of_reach"
"""Flag of a frame that was set aside since its pixels, or its dark, could not be had."""
STORAGE_PAUSE_S = 5.0
"""Until a frame is tried again whose storage is away."""


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
        storage_s: how long the storage of all frames may be away, s; then `Answers` gives up.
    """

    delays_s: Sequence[float] = (1.0, 5.0, 15.0, 30.0, 60.0)
    tries_after_stop: int = 8
    storage_s: float = 120.0

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


class Answers:
    """Reads, reduces and sizes the frames that wait in the ledger, and writes down what came of it.

    Args:
        stages: reader, reducer and sizer.
        ledger: the books.
        companions: bring the dark and background that a frame needs.
        provenance: what is the same for every prediction of this process.
        on_answer: called with each answer once it is in the ledger (to wake the deliveries).
        patience: how often a frame is tried that is away.
        newest_first: whether the newest of the frames never tried goes first, or the oldest.
        stopping: asked whether the process is to end; a frame in hand is then put back.
    """

    def __init__(
        self,
        stages: Stages,
        ledger: Ledger,
        companions: Companions,
        *,
        provenance: Provenance,
        on_answer: Callable[[Prediction], None],
        patience: Patience,
        newest_first: bool,
        stopping: Callable[[], bool],
    ) -> None:
        self._stages, self._ledger, self._companions = stages, ledger, companions
        self._provenance, self._patience = provenance, patience
        self._on_answer, self._stopping = on_answer, stopping
        self._newest_first = newest_first
        self._retry_next = False
        self._away = AwayFiles(ledger)
        self._outage = Outage(patience.storage_s)

    def work(self, now: float | None = None, run_uid: str | None = None) -> FrameReference | None:
        """Answer the frame whose turn it is, or put it off; None when no frame's turn has come.

        Frames never tried and frames to be tried again take turns, so that neither holds up the
        other. A frame that an earlier process did not come back from waits behind both, so that
        one that ends every process holds up none.

        Args:
            now: UTC epoch s.
            run_uid: of this run only; others are left to other processes.
        """
        todo = self._next(time.time() if now is None else now, run_uid)
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

    def _next(self, now: float, run_uid: str | None) -> Todo | None:
        self._retry_next = not self._retry_next
        ledger = self._ledger
        new = partial(ledger.next_frame, newest_first=self._newest_first, run_uid=run_uid)
        again = partial(ledger.next_retry, now, run_uid)
        todo = new() or again() if self._retry_next else again() or new()
        return todo or ledger.next_interrupted(now, run_uid)

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
            self._set_aside(todo, str(error), watch, _flags_of(error))
        except StorageAway as error:
            self._wait_for_storage(todo, str(error))
        except Unavailable as error:
            self._put_off(todo, str(error), watch)
        except Fatal:
            # The frame is not to blame, however often the agent is started again.
            self._ledger.put_back(todo.reference.key)
            raise
        else:
            self._write(todo, sized.estimate, watch, sized)

    def _path(self, todo: Todo, watch: _Stopwatch) -> Sized:
        if todo.reference.declared.conflict:
            raise BadFrame(todo.reference.declared.conflict)
        away = self._companions.bring(todo.reference)
        if away is not None and self._has_time_for(away, todo):
            raise Unavailable(away.reason)
        frame = self._stages.reader.read(todo.reference)
        self._outage.is_over(todo.reference)
        watch.lap("read")
        pattern = self._stages.reducer.reduce(frame)
        self._companions.check(frame, pattern)
        watch.lap("reduce")
        (sized,) = self._stages.sizer.size([pattern])
        watch.lap("size")
        return sized

    def _has_time_for(self, away: Away, todo: Todo) -> bool:
        """Tell whether a frame is put off until its dark or background has come."""
        tried = todo.tries >= TRIES_WITHOUT_DARK and not away.essential
        return not tried and self._patience.wait(todo) is not None

    def _put_off(self, todo: Todo, reason: str, watch: _Stopwatch) -> None:
        key = todo.reference.key
        if self._stopping():
            self._ledger.put_back(key)
            return
        wait = self._patience.wait(todo)
        if wait is None:
            reason = f"{reason} (given up after {todo.tries + 1} tries)"
            self._set_aside(todo, reason, watch, (OUT_OF_REACH,))
            return
        # At least a millisecond, since a frame that was never tried is due at 0.
        self._ledger.put_off(todo, due=time.time() + max(wait, 1e-3))
        self._away.put_off(todo.reference, reason, wait)

    def _wait_for_storage(self, todo: Todo, reason: str) -> None:
        """Put a frame off for no fault of its own; its tries do not count."""
        if self._stopping():
            self._ledger.put_back(todo.reference.key)
            return
        self._ledger.put_off(todo, due=time.time() + STORAGE_PAUSE_S, counts=False)
        self._outage.take(reason)

    def _set_aside(
        self, todo: Todo, reason: str, watch: _Stopwatch, flags: tuple[str, ...] = ()
    ) -> None:
        estimate = Estimate(verdict=Verdict.BAD_FRAME, reason=reason, flags=flags)
        self._write(todo, estimate, watch)

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


def _flags_of(error: BadFrame) -> tuple[str, ...]:
    if isinstance(error, Lacking):
        return error.flags
    return (OUT_OF_REACH,) if isinstance(error, OutOfReach) else ()


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
