"""One process of several that size a replay: it answers the frames of whole runs, one by one.

It shares the books with the process that started it, which notes the documents, publishes and says
how far it is. What it has answered is on disk, so it may be killed at any moment.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path

from qd_agent.config import Config
from qd_agent.core.errors import Fatal, QdError
from qd_agent.daemon import set_up_logging
from qd_agent.ledger import Ledger
from qd_agent.replay_agent import ArchiveOpener, open_bench

POLL_S = 0.05
BOOKS_PATIENCE_S = 120.0
"""A run is noted at once, however long it is, and meanwhile no other process can write."""
READY, ANSWERED, DONE, FAILED = "ready", "answered", "done", "failed"
"""What a worker says: it can begin, a frame or all of a run is answered, it cannot go on."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker is to do, in a form that can be sent to it.

    Attributes:
        config: as for live frames.
        books: the ledger's file.
        model: name of the model version that the books are of.
        sinks: names of the stores that every prediction must reach.
        archive: opens the archive; None: there is none.
    """

    config: Config
    books: Path
    model: str
    sinks: tuple[str, ...]
    archive: ArchiveOpener | None


def log_level_of(config: Config) -> str:
    """Give the least severity that a replay logs: every frame and run would be too much."""
    return "warning" if config.log_level == "info" else config.log_level


def serve(order: Order, pipe: Connection) -> None:
    """Answer the frames of the runs that `pipe` names, until it is told to stop or left alone.

    SIGTERM stops it after the frame in hand. What went wrong for good is said through the pipe.
    """
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    parent = parent_process()

    def ending() -> bool:
        return stopping.is_set() or (parent is not None and not parent.is_alive())

    set_up_logging(log_level_of(order.config))
    try:
        try:
            with ExitStack() as stack:
                _serve(order, pipe, ending, stack)
        except QdError as error:
            pipe.send((FAILED, str(error)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # nobody is there any more; what was answered is in the books


def _serve(order: Order, pipe: Connection, ending: Callable[[], bool], stack: ExitStack) -> None:
    bench = open_bench(order.config, stack, order.archive, ending)
    if bench.workshop.model != order.model:
        raise Fatal("the model was changed while the replay went on; start it again")
    ledger = Ledger(order.books, order.model, order.sinks, patience_s=BOOKS_PATIENCE_S)
    stack.callback(ledger.close)
    agent = bench.agent(order.config, ledger, ending)
    pipe.send((READY, ""))
    for run_uid in _named(pipe, ending):
        while not ending():
            if agent.work(run_uid=run_uid) is not None:
                pipe.send((ANSWERED, run_uid))
            elif ledger.is_waiting(run_uid):
                time.sleep(POLL_S)  # for the next try of a frame that is away
            else:
                agent.let_go(run_uid)
                pipe.send((DONE, run_uid))
                break


def _named(pipe: Connection, ending: Callable[[], bool]) -> Generator[str]:
    while not ending():
        if pipe.poll(POLL_S):
            yield str(pipe.recv())
