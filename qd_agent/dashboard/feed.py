"""What all viewers see: one versioned state, and the events that lead from version to version.

Each event has a number. A viewer that was cut off says which one it saw last and is given those
that it missed; one that is new, or was away for too long, is given the whole state.
"""

from __future__ import annotations

import bisect
import secrets
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from qd_agent.dashboard.headline import Headline, headline_of
from qd_agent.dashboard.records import FrameRow
from qd_agent.dashboard.store import RunInfo

KEPT_EVENTS = 2000
MOST_FRAMES = 20_000
"""Newest frames of a run that are held and sent; older ones are in the exports."""
_RECENT = 200


@dataclass(frozen=True, slots=True)
class Event:
    """A step from one version to the next.

    Attributes:
        number: the version that it leads to.
        kind: 'frames', 'health', 'runs' or 'reset' (take the whole state anew).
        rows: the frames that came, for 'frames'.
        data: the rest of what changed.
    """

    number: int
    kind: str
    rows: tuple[FrameRow, ...]
    data: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole state at one version; `rows` newest last."""

    number: int
    run: RunInfo | None
    rows: tuple[FrameRow, ...]
    data: Mapping[str, object]


class Feed:
    """The state and its last events. One thread writes, any thread reads."""

    def __init__(self) -> None:
        self.epoch = secrets.token_hex(4)
        self._lock = threading.Lock()
        self._events: deque[Event] = deque(maxlen=KEPT_EVENTS)
        self._number = 0
        self._run: RunInfo | None = None
        self._rows: list[FrameRow] = []
        self._known: dict[str, FrameRow] = {}
        self._data: dict[str, object] = {}
        self._listeners: set[Callable[[], None]] = set()

    # -- writing ---------------------------------------------------------------------------

    def begin_run(self, run: RunInfo | None, rows: Sequence[FrameRow]) -> None:
        """Turn to another run (or the same one, read anew)."""
        ordered = sorted(rows, key=_place)[-MOST_FRAMES:]
        with self._lock:
            self._run, self._rows = run, ordered
            self._known = {row.key: row for row in ordered}
            self._add("reset", (), {})
        self._tell()

    def add_frames(self, rows: Sequence[FrameRow]) -> None:
        """Take in new frames of the run; one that is known by its key is replaced."""
        if not rows:
            return
        with self._lock:
            for row in rows:
                self._put(row)
            self._add("frames", tuple(rows), {})
        self._tell()

    def update(self, kind: str, data: Mapping[str, object]) -> None:
        """Take in other news ('health', 'runs'); what has not changed is not told."""
        with self._lock:
            if all(self._data.get(name, _NOTHING) == value for name, value in data.items()):
                return
            self._data.update(data)
            self._add(kind, (), data)
        self._tell()

    def describe_run(self, run: RunInfo) -> None:
        """Say what has changed about the run that is shown."""
        with self._lock:
            if run == self._run:
                return
            self._run = run
            self._add("run", (), {"run": asdict(run)})
        self._tell()

    # -- reading ---------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Give the whole state."""
        with self._lock:
            return Snapshot(self._number, self._run, tuple(self._rows), dict(self._data))

    def since(self, number: int) -> list[Event] | None:
        """Give the events after a version; None where they are not all held any more."""
        with self._lock:
            if number == self._number:
                return []
            if not self._events or not self._events[0].number - 1 <= number <= self._number:
                return None
            return [event for event in self._events if event.number > number]

    def recent(self) -> tuple[FrameRow, ...]:
        """Give the newest frames and, for the state of the run, all that it has of no size."""
        with self._lock:
            return tuple(self._rows[-_RECENT:])

    def headline(self, target: float | None) -> Headline:
        """Sum the run up; see `headline_of`."""
        return headline_of(self.recent(), target)

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Have `listener` called, on any thread, after each change; gives what ends that."""
        with self._lock:
            self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)

    @property
    def listeners(self) -> int:
        """Number of viewers."""
        return len(self._listeners)

    def _put(self, row: FrameRow) -> None:
        before = self._known.get(row.key)
        if before is not None:
            self._rows.remove(before)
        self._known[row.key] = row
        bisect.insort(self._rows, row, key=_place)
        if len(self._rows) > MOST_FRAMES:
            del self._known[self._rows.pop(0).key]

    def _add(self, kind: str, rows: tuple[FrameRow, ...], data: Mapping[str, object]) -> None:
        self._number += 1
        self._events.append(Event(self._number, kind, rows, data))

    def _tell(self) -> None:
        for listener in tuple(self._listeners):
            listener()


_NOTHING = object()


def _place(row: FrameRow) -> tuple[float, int]:
    return row.time, row.seq_num


def latency_ms(rows: Sequence[FrameRow]) -> dict[str, float] | None:
    """Give p50, p95 and p99 of the time from a frame's event to its answer in Redis, ms."""
    delays = [(row.stored - row.time) * 1e3 for row in rows[-_RECENT:]]
    if not delays:
        return None
    p50, p95, p99 = (round(float(v), 1) for v in np.percentile(delays, [50, 95, 99]))
    return {"p50": p50, "p95": p95, "p99": p99, "frames": len(delays)}
