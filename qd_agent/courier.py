"""One thread a sink: delivers from the ledger, so that a slow store never holds a frame up."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import structlog

from qd_agent.core.errors import Fatal, QdError, Unavailable
from qd_agent.core.ports import PredictionSink
from qd_agent.core.prediction import Provenance
from qd_agent.delivery import audit, deliver_once
from qd_agent.ledger import Ledger

_log = structlog.get_logger(__name__)

FLUSH_S = 2.5
"""Time that couriers get at shutdown to empty the outbox; what is left goes at the next start."""
PULSE_S = 2.0
AUDIT_S = 2.0
"""Time for comparing before deliveries have their turn again."""


def wait_after(misses: int, draw: Callable[[float, float], float] = random.uniform) -> float:
    """Give how long to wait after so many tries in vain, s.

    Full jitter: agents that lost the same server do not come back at one moment.

    Args:
        misses: at least one.
        draw: gives a number between its two arguments.
    """
    return draw(0.1, min(15.0, 0.5 * 2 ** min(misses, 6)))


class Courier(threading.Thread):
    """Delivers the outbox of one sink; reconnects with growing, jittered waits.

    Args:
        ledger: the books.
        name: name of the sink.
        connect: opens the sink; raises Unavailable while its server is away.
        provenance: for the announcement of runs.
        pause: seconds between two turns, so that slow stores get batches instead of single rows.
        batch: most predictions in one delivery.
        pulse: called on the courier's own thread every PULSE_S seconds while the sink is up.
        watched: so many of the latest runs are looked for with every pulse, in a sink that may
            be emptied while it is up.
        remembered: so many are looked for when the sink has come back.
    """

    def __init__(
        self,
        ledger: Ledger,
        name: str,
        connect: Callable[[], PredictionSink],
        provenance: Provenance,
        *,
        pause: float = 0.0,
        batch: int = 200,
        pulse: Callable[[PredictionSink], None] = lambda _: None,
        watched: int = 0,
        remembered: int = 10,
    ) -> None:
        super().__init__(name=f"courier-{name}", daemon=True)
        self._ledger, self._sink_name, self._connect = ledger, name, connect
        self._provenance, self._pulse = provenance, pulse
        self._pause, self._batch = pause, batch
        self._watched, self._remembered = watched, remembered
        self._audits: queue.SimpleQueue[tuple[Sequence[str], Future[int]]] = queue.SimpleQueue()
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._sink: PredictionSink | None = None
        self.state = "connecting"
        self.failure: QdError | None = None

    def wake(self) -> None:
        """Say that there may be something to deliver."""
        self._wake.set()

    def audit(self, run_uids: Sequence[str]) -> Future[int]:
        """Ask for a comparison, frame by frame, of what the sink holds; may be called anywhere.

        Returns:
            How many predictions it gets again, once the sink has been asked.
        """
        future: Future[int] = Future()
        self._audits.put((run_uids, future))
        self.wake()
        return future

    def run(self) -> None:
        """Deliver until told to stop, then until the outbox is empty or FLUSH_S has passed."""
        misses = 0
        next_pulse = 0.0
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                sink, more = self._turn()
                if time.monotonic() >= next_pulse:
                    self._pulse(sink)
                    more |= self._watch(sink)
                    next_pulse = time.monotonic() + PULSE_S
                more |= self._answer_audits(sink)
                self._hit()
            except Unavailable as error:
                misses += 1
                next_pulse = 0.0  # with nothing to deliver, only a pulse shows that it is back
                self._miss(error, misses)
            except Fatal as error:
                self.state, self.failure = "failed", error
                return
            else:
                misses = 0
                self._rest(more)
        self._flush()

    def _turn(self) -> tuple[PredictionSink, bool]:
        if self._sink is None:
            self._sink = self._connect()
        count = deliver_once(self._ledger, self._sink, self._provenance, self._batch)
        return self._sink, count > 0

    def _watch(self, sink: PredictionSink) -> bool:
        """Look whether the sink still has what it was given; gives True when it gets it again."""
        came_back = self.state != "up"
        owed = self._look(sink, self._remembered if came_back else self._watched)
        if owed and not came_back:
            owed += self._look(sink, self._remembered)
        if owed:
            _log.warning("sink has lost predictions, it gets them again", predictions=owed)
        return owed > 0

    def _look(self, sink: PredictionSink, runs: int) -> int:
        latest = self._ledger.latest_runs(runs) if runs else []
        return audit(self._ledger, sink, latest, thorough=False) if latest else 0

    def _answer_audits(self, sink: PredictionSink) -> bool:
        """Compare for a while, so that deliveries go on beside it; True when there is more."""
        owed, began = 0, time.monotonic()
        while not self._audits.empty():
            if time.monotonic() - began > AUDIT_S:
                return True
            run_uids, future = self._audits.get()
            try:
                future.set_result(audit(self._ledger, sink, run_uids, thorough=True))
            except QdError as error:
                future.set_exception(error)
                raise
            owed += future.result()
        return owed > 0

    def _hit(self) -> None:
        if self.state != "up":
            _log.info("sink is up", sink=self._sink_name)
            self.state = "up"

    def _miss(self, error: Unavailable, misses: int) -> None:
        if self.state != "down":
            _log.warning("sink is away, predictions wait on disk", reason=str(error))
            self.state = "down"
        while not self._audits.empty():
            self._audits.get()[1].set_exception(error)
        self._stopping.wait(wait_after(misses))

    def _rest(self, more: bool) -> None:
        if self._pause:
            self._stopping.wait(self._pause)
        elif not more:
            self._wake.wait(timeout=0.5)

    def _flush(self) -> None:
        deadline = time.monotonic() + FLUSH_S
        try:
            while time.monotonic() < deadline and self._turn()[1]:
                pass
            if self._sink is not None:
                self._pulse(self._sink)
                self._sink.close()
        except QdError as error:
            _log.warning("not all delivered, the rest goes at the next start", reason=str(error))

    def stop(self) -> None:
        """Ask the thread to flush and end."""
        self._stopping.set()
        self._wake.set()
