"""The daemon: threads, signals, health.

One intake thread moves documents from the source into a bounded queue, so that a slow frame never
makes the socket overflow; the main thread writes them down and walks the path, a frame at a time;
one courier thread per sink delivers from the ledger (`courier.py`).
"""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Mapping
from types import FrameType

import structlog

from qd_agent.agent import Agent
from qd_agent.core.errors import BadFrame, Fatal, Unavailable
from qd_agent.core.ports import Document, DocumentSource
from qd_agent.courier import FLUSH_S, Courier
from qd_agent.health import Health

_log = structlog.get_logger(__name__)

QUEUE_SIZE = 10_000
"""Documents in hand at most; beyond it the source itself holds back."""
WEIGHT_BYTES = 1 << 15
"""A document counts once more for every so many bytes of images: 10,000 of these are 320 MB."""
REFUSALS_SAID = 100
"""Refused messages that are each said in the log; after them one in as many is."""
STATE_PAUSE_S = 5.0
"""Shortest time between two lines about the source's state: a peer may come and go ten times a
second."""
DRAIN = 500
"""Documents written down at most before the next frame is taken in hand."""


class DocumentQueue(queue.Queue[Document]):
    """A queue bounded by number and by bytes: images inside of events count as many documents."""

    def count(self) -> int:
        """Give the number of documents in the queue."""
        return len(self.queue)

    def _init(self, maxsize: int) -> None:
        super()._init(maxsize)
        self._weight = 0

    def _qsize(self) -> int:
        return self._weight

    def _put(self, item: Document) -> None:
        super()._put(item)
        self._weight += _weight(item)

    def _get(self) -> Document:
        item: Document = super()._get()
        self._weight -= _weight(item)
        return item


def _weight(document: Document) -> int:
    data = document[1].get("data")
    values = data.values() if isinstance(data, Mapping) else ()
    return 1 + sum(int(getattr(value, "nbytes", 0)) for value in values) // WEIGHT_BYTES


class Silence:
    """A source that never says anything, for work on the books alone."""

    state = "connected"

    def receive(self, timeout: float) -> Document | None:
        """Give nothing after `timeout` seconds."""
        time.sleep(timeout)
        return None

    def close(self) -> None:
        """Do nothing."""


class Intake(threading.Thread):
    """Moves documents from the source to the queue until told to stop."""

    def __init__(self, source: DocumentSource, documents: queue.Queue[Document]) -> None:
        super().__init__(name="intake", daemon=True)
        self._source, self._documents = source, documents
        self._stopping = threading.Event()
        self._said, self._say_again = "connecting", 0.0
        self.state = "connecting"
        self.refused = 0
        self.failure: Fatal | None = None

    def run(self) -> None:
        """Receive until `stop`; what is no document is counted and dropped."""
        while not self._stopping.is_set():
            try:
                document = self._source.receive(timeout=0.2)
            except BadFrame as error:
                self._refuse(error)
            except Unavailable as error:
                _log.warning("source is away", reason=str(error))
                self._stopping.wait(1.0)
            except Fatal as error:
                self.failure = error
                return
            else:
                if document is not None:
                    self._put(document)
            self._notice()

    def _refuse(self, error: BadFrame) -> None:
        """Count a message; say it, unless that would let a stranger fill the log's disk."""
        self.refused += 1
        if self.refused <= REFUSALS_SAID or self.refused % REFUSALS_SAID == 0:
            _log.warning("message refused", reason=str(error), refused=self.refused)

    def _notice(self) -> None:
        """Say when the source's state has changed, at most every STATE_PAUSE_S seconds."""
        self.state = self._source.state
        if self.state == self._said or time.monotonic() < self._say_again:
            return
        self._said, self._say_again = self.state, time.monotonic() + STATE_PAUSE_S
        if self.state == "connected":
            _log.info("source is connected")
        else:
            _log.warning("source is not connected", reason=self.state)

    def _put(self, document: Document) -> None:
        while not self._stopping.is_set():
            try:
                self._documents.put(document, timeout=0.2)
            except queue.Full:
                continue
            return

    def stop(self) -> None:
        """End the thread after the document in hand."""
        self._stopping.set()
        self.join(timeout=2.0)


class Service:
    """Runs the path until a signal; closes what it opened.

    Args:
        agent: the path.
        source: where documents come from.
        couriers: one thread per sink, by sink name; not started.
        health: what the heartbeat says.
        documents: the queue between intake and path.
        stopping: set when the process is to end; agent and reader may look at it.
        check: called between documents; raises Fatal when something outside is gone for good.
        begin: called once, when what an earlier process has left is known.
        chores: called between documents; what is to be done now and then, and does not wait.
        finished: asked while there is nothing to do; the service ends when it says so.
    """

    def __init__(
        self,
        agent: Agent,
        source: DocumentSource,
        couriers: Mapping[str, Courier],
        health: Health,
        *,
        documents: queue.Queue[Document],
        stopping: threading.Event | None = None,
        check: Callable[[], None] = lambda: None,
        begin: Callable[[], None] = lambda: None,
        chores: Callable[[], None] = lambda: None,
        finished: Callable[[], bool] = lambda: False,
    ) -> None:
        self._begin, self._chores, self._finished = begin, chores, finished
        self._agent, self._source, self._couriers = agent, source, couriers
        self._health, self._documents, self._check_outside = health, documents, check
        self._intake = Intake(source, documents)
        self._stopping = stopping or threading.Event()
        self._idle = False

    def run(self) -> None:
        """Run until SIGTERM or SIGINT; a second signal ends the process at once.

        Raises:
            Fatal: the source, a sink or the ledger cannot go on.
        """
        previous = {s: signal.signal(s, self._on_signal) for s in (signal.SIGTERM, signal.SIGINT)}
        for courier in self._couriers.values():
            courier.start()
        self._intake.start()
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
        self._check()
        self._health.source_state, self._health.refused = self._intake.state, self._intake.refused
        documents = self._come_in(wait=0.1 if self._idle else 0.0)
        if documents:
            self._agent.note_all(documents)
        self._chores()
        reference = self._agent.work()
        self._idle = reference is None
        if self._idle and not documents and self._finished():
            self._stopping.set()
        if reference is not None:
            self._health.last_frame = max(self._health.last_frame or 0.0, reference.time)

    def _come_in(self, wait: float) -> list[Document]:
        """Give the documents that are there, at most DRAIN; wait for the first one."""
        found: list[Document] = []
        try:
            found.append(self._documents.get(timeout=wait) if wait else self._documents.get(False))
            while len(found) < DRAIN:
                found.append(self._documents.get_nowait())
        except queue.Empty:
            pass
        return found

    def _check(self) -> None:
        self._check_outside()
        failures = [self._intake.failure, *(c.failure for c in self._couriers.values())]
        for failure in failures:
            if failure is not None:
                raise Fatal(str(failure))
        for thread in (self._intake, *self._couriers.values()):
            if not thread.is_alive():  # an error of ours: it stands above, with its traceback
                raise Fatal(f"the thread {thread.name} has ended unexpectedly; start again")

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if self._stopping.is_set():
            os._exit(128 + number)
        self._stopping.set()

    def _shut_down(self) -> None:
        self._health.state = "stopping"
        self._intake.stop()
        try:
            # What the queue still holds is written down as seen: the next start answers it.
            while documents := self._come_in(wait=0.0):
                self._agent.note_all(documents)
        except Fatal as error:
            _log.error("documents in hand are not written down", reason=str(error))
        for courier in self._couriers.values():
            courier.stop()
        deadline = time.monotonic() + FLUSH_S + 0.5
        for courier in self._couriers.values():
            if courier.is_alive():
                courier.join(timeout=max(0.0, deadline - time.monotonic()))
        self._source.close()
        _log.info("stopped")
