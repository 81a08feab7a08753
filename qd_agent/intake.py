"""The way in: a thread for each source, and the bounded queue that all of them fill."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import structlog

from qd_agent.core.errors import BadFrame, Fatal, Unavailable
from qd_agent.core.ports import Document, DocumentSource
from qd_agent.refusals import Refusals

_log = structlog.get_logger(__name__)

QUEUE_SIZE = 10_000
"""Documents in hand at most; beyond it the sources themselves hold back."""
WEIGHT_BYTES = 1 << 15
"""A document counts once more for every so many bytes of images: 10,000 of these are 320 MB."""
NUMBER_BYTES = 32
"""What a number in a list takes in memory; images come so from whoever publishes JSON."""
STATE_PAUSE_S = 5.0
"""Shortest time between two lines about a source's state: a peer may come and go ten times a
second."""


class Arrival(NamedTuple):
    """A document, and the name of the source that gave it."""

    document: Document
    source: str


class DocumentQueue(queue.Queue[Arrival]):
    """A queue bounded by number and by bytes: images inside of events count as many documents."""

    def count(self) -> int:
        """Give the number of documents in the queue."""
        return len(self.queue)

    def _init(self, maxsize: int) -> None:
        super()._init(maxsize)
        self._weight = 0

    def _qsize(self) -> int:
        return self._weight

    def _put(self, item: Arrival) -> None:
        super()._put(item)
        self._weight += _weight(item.document)

    def _get(self) -> Arrival:
        item: Arrival = super()._get()
        self._weight -= _weight(item.document)
        return item


def _weight(document: Document) -> int:
    data = document[1].get("data")
    values = data.values() if isinstance(data, Mapping) else ()
    return 1 + sum(map(_bytes, values)) // WEIGHT_BYTES


def _bytes(value: object) -> int:
    if isinstance(value, list) and value:
        items = cast("Sequence[object]", value)
        return len(items) * max(NUMBER_BYTES, _bytes(items[0]))
    return int(getattr(value, "nbytes", 0))


class Intake(threading.Thread):
    """Moves documents from one source to the queue until told to stop.

    Args:
        name: what the source is called.
        source: where documents come from.
        arrivals: the queue; while it is full, the source is not asked.

    Attributes:
        state: the source's state, as of the latest look.
        failure: why the source cannot go on, ever; None while it can.
    """

    def __init__(self, name: str, source: DocumentSource, arrivals: queue.Queue[Arrival]) -> None:
        super().__init__(name=f"intake of {name}", daemon=True)
        self._source_name, self._source, self._arrivals = name, source, arrivals
        self._stopping = threading.Event()
        self._said, self._say_again = "connecting", 0.0
        self._refusals = Refusals("message refused")
        self.state = "connecting"
        self.failure: Fatal | None = None
        self._left: Arrival | None = None

    @property
    def refused(self) -> int:
        """Messages that were no document."""
        return self._refusals.count

    def run(self) -> None:
        """Receive until `stop`; what is no document is counted and dropped."""
        while not self._stopping.is_set():
            try:
                document = self._source.receive(timeout=0.2)
            except BadFrame as error:
                self._refusals.take(error, source=self._source_name)
            except Unavailable as error:
                _log.warning("source is away", source=self._source_name, reason=str(error))
                self._stopping.wait(1.0)
            except Fatal as error:
                self.failure = error
                return
            else:
                if document is not None:
                    self._put(Arrival(document, self._source_name))
            self._notice()

    def _notice(self) -> None:
        """Say when the source's state has changed, at most every STATE_PAUSE_S seconds."""
        self.state = self._source.state
        if self.state == self._said or time.monotonic() < self._say_again:
            return
        self._said, self._say_again = self.state, time.monotonic() + STATE_PAUSE_S
        if self.state == "connected":
            _log.info("source is connected", source=self._source_name)
        else:
            _log.warning("source is not connected", source=self._source_name, reason=self.state)

    def _put(self, arrival: Arrival) -> None:
        while not self._stopping.is_set():
            try:
                self._arrivals.put(arrival, timeout=0.2)
            except queue.Full:
                continue
            return
        self._left = arrival  # nobody may look into the queue any more

    def stop(self) -> None:
        """End the thread after the document in hand; a source that is slow is not waited for."""
        self._stopping.set()
        self.join(timeout=2.0)

    def give_left(self) -> Arrival | None:
        """Give, once, the document that was in hand when the thread was told to stop."""
        left, self._left = self._left, None
        return left
