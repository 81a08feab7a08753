"""The daemon: threads, signals, health.

One intake thread a source moves documents into a bounded queue (`intake.py`), so that a slow frame
never makes a socket overflow; the main thread writes them down, acknowledges them and walks the
path, a frame at a time; one courier thread per sink delivers from the ledger (`courier.py`).
"""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import FrameType

import structlog

from qd_agent.agent import Agent
from qd_agent.core.errors import Fatal
from qd_agent.core.ports import DocumentSource
from qd_agent.courier import FLUSH_S, Courier
from qd_agent.health import Health
from qd_agent.intake import Arrival, DocumentQueue, Intake

_log = structlog.get_logger(__name__)

DRAIN = 500
"""Documents written down at most before the next frame is taken in hand."""


class Service:
    """Runs the path until it is told to stop.

    Args:
        agent: the path.
        sources: where documents come from, by name; none for work on the books alone. Whoever
            opened them closes them.
        couriers: one thread per sink, by sink name; not started.
        health: what the heartbeat says.
        documents: the queue between the sources and the path.
        stopping: set when the process is to end; agent and reader may look at it.
        check: called between documents; raises Fatal when something outside is gone for good.
        ready: called once, when signals are heard, before sources are read.
        begin: called once, when what an earlier process has left is known.
        chores: called between documents; what is to be done now and then, and does not wait.
        finished: asked while there is nothing to do; the service ends when it says so.
    """

    def __init__(
        self,
        agent: Agent,
        sources: Mapping[str, DocumentSource],
        couriers: Mapping[str, Courier],
        health: Health,
        *,
        documents: DocumentQueue,
        stopping: threading.Event | None = None,
        check: Callable[[], None] = lambda: None,
        ready: Callable[[], None] = lambda: None,
        begin: Callable[[], None] = lambda: None,
        chores: Callable[[], None] = lambda: None,
        finished: Callable[[], bool] = lambda: False,
    ) -> None:
        self._ready, self._begin, self._chores, self._finished = ready, begin, chores, finished
        self._agent, self._sources, self._couriers = agent, sources, couriers
        self._health, self._documents, self._check_outside = health, documents, check
        self._intakes = {name: Intake(name, s, documents) for name, s in sources.items()}
        self._stopping = stopping or threading.Event()
        self._idle = False

    def run(self) -> None:
        """Run until `stopping` is set; a second signal ends the process at once.

        SIGTERM and SIGINT set it, where this is the main thread: on others, signals belong to
        whoever runs beside us.

        Raises:
            Fatal: the source, a sink or the ledger cannot go on.
        """
        ours = threading.current_thread() is threading.main_thread()
        numbers = (signal.SIGTERM, signal.SIGINT) if ours else ()
        previous = {number: signal.signal(number, self._on_signal) for number in numbers}
        self._ready()  # not before the signals are ours: who is told may stop us at once
        for courier in self._couriers.values():
            courier.start()
        for intake in self._intakes.values():
            intake.start()
        try:
            self._health.state = "running"
            left = self._agent.recover()
            if left:
                _log.info("an earlier process has left frames to be answered", frames=left)
            self._begin()
            while not self._stopping.is_set():
                self._turn()
        finally:
            self._shut_down()
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _turn(self) -> None:
        """Write down what came in, then answer one frame."""
        self._health.turned = time.monotonic()
        self._check()
        self._health.hear({name: (i.state, i.refused) for name, i in self._intakes.items()})
        arrivals = self._come_in(wait=0.1 if self._idle else 0.0)
        self._take(arrivals)
        self._chores()
        reference = self._agent.work()
        self._idle = reference is None
        if self._idle and not arrivals and self._finished():
            self._stopping.set()
        if reference is not None:
            self._health.last_frame = max(self._health.last_frame or 0.0, reference.time)

    def _take(self, arrivals: Sequence[Arrival]) -> None:
        """Write documents down, then let their sources know."""
        if not arrivals:
            return
        self._agent.note_all(arrival.document for arrival in arrivals)
        for name, count in Counter(arrival.source for arrival in arrivals).items():
            self._sources[name].acknowledge(count)

    def _come_in(self, wait: float) -> list[Arrival]:
        """Give the documents that are there, at most DRAIN; wait for the first one."""
        found: list[Arrival] = []
        try:
            found.append(self._documents.get(timeout=wait) if wait else self._documents.get(False))
            while len(found) < DRAIN:
                found.append(self._documents.get_nowait())
        except queue.Empty:
            pass
        return found

    def _check(self) -> None:
        self._check_outside()
        # Asked first: a thread says why before it ends.
        ended = [thread.name for thread in self._threads() if not thread.is_alive()]
        for thread in self._threads():
            if thread.failure is not None:
                raise Fatal(str(thread.failure))
        if ended:  # an error of ours: it stands above, with its traceback
            raise Fatal(f"the thread {ended[0]} has ended unexpectedly; start again")

    def _threads(self) -> list[Intake | Courier]:
        return [*self._intakes.values(), *self._couriers.values()]

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if self._stopping.is_set():
            os._exit(128 + number)
        self._stopping.set()

    def _shut_down(self) -> None:
        self._health.state = "stopping"
        for intake in self._intakes.values():
            intake.stop()
        try:
            # What the queue still holds is written down as seen: the next start answers it.
            while arrivals := self._come_in(wait=0.0):
                self._take(arrivals)
            self._take_left()
        except Fatal as error:
            _log.error("documents in hand are not written down", reason=str(error))
        for courier in self._couriers.values():
            courier.stop()
        deadline = time.monotonic() + FLUSH_S + 0.5
        for courier in self._couriers.values():
            if courier.is_alive():
                courier.join(timeout=max(0.0, deadline - time.monotonic()))
        try:
            self._take_left()  # of a source that was slow to answer when it was told to stop
        except Fatal as error:
            _log.error("a document in hand is not written down", reason=str(error))
        _log.info("stopped")

    def _take_left(self) -> None:
        left = [intake.give_left() for intake in self._intakes.values()]
        self._take([arrival for arrival in left if arrival is not None])
