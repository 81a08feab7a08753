"""Documents from Tiled: a run is read from the catalog again whenever something is added to it."""

from __future__ import annotations

import queue
import ssl
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from qd_agent.core.errors import BadFrame, Unavailable
from qd_agent.core.ports import Document
from qd_agent.documents.settings import TiledStreamSettings
from qd_agent.documents.tiled_updates import Updates

PAUSE_S = 0.2
"""Shortest time between two readings of one run; a slow Tiled gets four times what it takes."""
TRIES = 10
"""So often a run may be found half made before it is given up until its next update."""
ENDED_REMEMBERED = 1000


@dataclass(frozen=True, slots=True)
class TiledDoor:
    """What a source needs of the Tiled that the agent uses.

    Attributes:
        uri: the API's root.
        headers: to be sent with every connection; they hold a secret.
        tls: for https://, or None.
        root: where the raw runs are.
        read: gives a run's documents, in order, or None; told how many events are known already
            by their descriptor. Raises Unavailable, BadFrame or Fatal.
        close: lets go of what `read` uses.
        is_whole: tells whether the books of a run are whole, so that it need not be read again.
        explain: adds to what TLS complains of what can be done about it.
    """

    uri: str = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    tls: ssl.SSLContext | None
    root: tuple[str, ...]
    read: Callable[[str, Mapping[str, int]], Sequence[Document] | None] = field(repr=False)
    close: Callable[[], None] = field(repr=False)
    is_whole: Callable[[str], bool] = field(repr=False, default=lambda _: False)
    explain: Callable[[str], str] = field(repr=False, default=str)


@dataclass(slots=True)
class _Run:
    """A run that is followed.

    Attributes:
        given: names and uids of the documents that were given.
        events: how many events of them, by descriptor.
        due: monotonic time of the next reading, s; infinite while nothing has changed.
        earliest: monotonic time before which it is not read again, s.
        failures: readings in a row that found it half made.
    """

    given: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    events: Counter[str] = field(default_factory=Counter[str])
    due: float = 0.0
    earliest: float = 0.0
    failures: int = 0


class TiledSource:
    """Follows the runs that are written into Tiled; implements `core.ports.DocumentSource`.

    Updates are received by sequence number, and go on where they stopped when a connection is
    lost. They are no more than a reason to read the run, of which whatever is new is given. So a
    lost update costs time and no document, and a restart reads the runs of the last hour again
    (as far back as Tiled keeps updates) unless their books are whole.

    `receive` belongs to one thread.
    """

    def __init__(self, settings: TiledStreamSettings, door: TiledDoor) -> None:
        self._settings, self._door = settings, door
        self._woken: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._ready: deque[Document] = deque()
        self._runs: dict[str, _Run] = {}
        self._ended: deque[str] = deque(maxlen=ENDED_REMEMBERED)
        self._closed = False
        self._updates = Updates(
            door.uri,
            door.root,
            door.headers,
            tls=door.tls,
            max_bytes=settings.max_message_bytes,
            wake=self._woken.put,
            explain=door.explain,
        )
        self._updates.start()

    @property
    def state(self) -> str:
        """'connected', 'connecting', or in a sentence why nothing can come."""
        return self._updates.state

    def receive(self, timeout: float) -> Document | None:
        """Give the next document, or None after `timeout` seconds.

        Raises:
            BadFrame: a run in Tiled cannot be understood; the others go on.
            Unavailable: Tiled is away, or the source is closed.
        """
        if self._closed:
            raise Unavailable("the source is closed")
        if not self._ready:
            run_uid = self._next_run(timeout)
            if run_uid is not None:
                self._read(run_uid)
        return self._ready.popleft() if self._ready else None

    def acknowledge(self, count: int) -> None:
        """Do nothing: what the books lack is read again from Tiled."""

    def close(self) -> None:
        """Let go of Tiled; a second call does nothing."""
        if not self._closed:
            self._closed = True
            self._updates.stop()
            self._door.close()

    def _next_run(self, timeout: float) -> str | None:
        """Give a run that is to be read, waiting for one up to `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            now = time.monotonic()
            due = min(self._runs, key=lambda uid: self._runs[uid].due, default=None)
            if due is not None and self._runs[due].due <= now:
                return due
            wake_at = min(deadline, self._runs[due].due if due is not None else deadline)
            try:
                self._wake(self._woken.get(timeout=max(0.0, wake_at - now)))
            except queue.Empty:
                if wake_at >= deadline:
                    return None

    def _wake(self, run_uid: str) -> None:
        if run_uid in self._ended:
            return
        run = self._runs.get(run_uid)
        if run is None:
            if self._door.is_whole(run_uid):
                self._forget(run_uid)
                return
            run = self._runs[run_uid] = _Run()
        run.due = min(run.due, max(run.earliest, time.monotonic()))

    def _read(self, run_uid: str) -> None:
        """Read a run and put what is new of it into `_ready`."""
        run, began = self._runs[run_uid], time.monotonic()
        run.due = began + 1.0  # where the reading fails
        try:
            documents = self._door.read(run_uid, run.events)
        except BadFrame as error:
            self._put_off(run_uid, str(error))
            return
        if documents is None:
            self._put_off(run_uid, "there is no such run")
            return
        run.failures = 0
        now = time.monotonic()
        run.earliest = now + max(PAUSE_S, 4.0 * (now - began))
        run.due = now + self._settings.poll_s
        for name, doc in documents:
            identity = (name, str(doc.get("uid")))
            if identity not in run.given:
                run.given.add(identity)
                if name == "event":
                    run.events[str(doc["descriptor"])] += 1
                self._ready.append((name, doc))
        if documents[-1][0] == "stop":
            self._forget(run_uid)

    def _put_off(self, run_uid: str, reason: str) -> None:
        """Read a run again in a moment: it may be half made."""
        run = self._runs[run_uid]
        run.failures += 1
        run.due = time.monotonic() + PAUSE_S * run.failures
        if run.failures >= TRIES:
            del self._runs[run_uid]
            raise BadFrame(f"run {run_uid[:60]!a} in Tiled cannot be read: {reason}")

    def _forget(self, run_uid: str) -> None:
        self._ended.append(run_uid)
        self._runs.pop(run_uid, None)
        self._updates.forget(run_uid)
