"""`qd-agent record`: every document of the configured sources goes into a file."""

from __future__ import annotations

import contextlib
import queue
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

from qd_agent.config import Config
from qd_agent.core.errors import BadFrame, Fatal
from qd_agent.daemon import open_sources, set_up_logging
from qd_agent.documents.recording import Recorder
from qd_agent.intake import QUEUE_SIZE, Arrival, DocumentQueue, Intake
from qd_agent.refusals import Refusals


def record(config: Config, path: Path, *, rotate_bytes: int, runs: int = 0) -> None:
    """Record until SIGTERM or SIGINT, or until `runs` runs have stopped (0: for ever).

    Raises:
        Fatal: a source or the file cannot be used, or no more.
    """
    set_up_logging(config.log_level)
    stopping = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    with ExitStack() as stack:
        recorder = Recorder(path, rotate_bytes)
        stack.callback(recorder.close)
        for number in (signal.SIGINT, signal.SIGTERM):
            stack.callback(signal.signal, number, signal.signal(number, stop))
        arrivals = DocumentQueue(QUEUE_SIZE)
        sources = open_sources(config, stack)
        intakes = [Intake(name, source, arrivals) for name, source in sources.items()]
        for intake in intakes:
            intake.start()
            stack.callback(intake.stop)
        sys.stderr.write(f"recording {', '.join(sources)} into {path}\n")
        sys.stderr.flush()
        ended = 0
        refusals = Refusals("document not recorded")

        def take(arrival: Arrival) -> None:
            try:
                recorder.add(*arrival.document)
            except BadFrame as error:
                refusals.take(error)
            sources[arrival.source].acknowledge(1)

        while not stopping.is_set() and (not runs or ended < runs):
            arrival = _next(arrivals, intakes)
            if arrival is not None:
                take(arrival)
                ended += arrival.document[0] == "stop"
        for arrival in _in_hand(arrivals, intakes) if stopping.is_set() else ():
            take(arrival)
    sys.stderr.write(f"{recorder.written} documents recorded\n")


def _in_hand(arrivals: DocumentQueue, intakes: list[Intake]) -> Iterator[Arrival]:
    """Give what had come in when we were told to stop."""
    for intake in intakes:
        intake.stop()
    with contextlib.suppress(queue.Empty):
        while True:
            yield arrivals.get_nowait()
    yield from filter(None, [intake.give_left() for intake in intakes])


def _next(arrivals: DocumentQueue, intakes: list[Intake]) -> Arrival | None:
    for intake in intakes:
        if intake.failure is not None:
            raise Fatal(str(intake.failure))
    try:
        return arrivals.get(timeout=0.2)
    except queue.Empty:
        return None
