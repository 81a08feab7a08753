"""Several processes that size runs of the past, each of them one run at a time.

Threads would not do: the sizer holds Python's lock for most of its time. A thread here only looks
after one process: it names a run, hears what becomes of it, and starts another process when that
one is lost.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing import get_context, resource_tracker
from multiprocessing.context import SpawnProcess

import structlog

from qd_agent.answers import MAX_CRASHES
from qd_agent.core.errors import Fatal, Unavailable
from qd_agent.replay_worker import ANSWERED, DONE, FAILED, Order, serve

_log = structlog.get_logger(__name__)

STOP_S = 30.0
"""Time that a worker gets for the frame in hand when all are told to stop."""
MOST_KILLED = 3
"""So often in a row, without an answer between, a worker of a run may be killed (SIGKILL). That is
no frame's doing, so it must be fewer than `MAX_CRASHES`, after which the frame is set aside."""


class Crew:
    """Sizes runs at the same time.

    Args:
        order: what each worker is to do.
        count: number of processes; they are started when there is a run for them.
    """

    def __init__(self, order: Order, count: int) -> None:
        self.count = count
        self._order = order
        # Started later, by one of the threads, it would undo what `_without_interrupt` does.
        resource_tracker.ensure_running()
        self._threads = ThreadPoolExecutor(count, "worker", initializer=_without_interrupt)
        self._closing = False
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._workers: set[_Worker] = set()

    def size(self, run_uid: str) -> Future[None]:
        """Have the waiting frames of a run answered, which is in the books.

        The future is done when all are. It raises Fatal when the workers cannot go on, and
        Unavailable when the crew was told to stop before.
        """
        return self._threads.submit(self._size, run_uid)

    def close(self) -> None:
        """Let every worker end after the frame in hand; runs that wait are not begun."""
        with self._lock:
            self._closing = True
            workers = list(self._workers)
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.stop()
        deadline = time.monotonic() + STOP_S
        for worker in workers:
            worker.join(max(0.0, deadline - time.monotonic()))
        self._threads.shutdown()  # each of them has seen its worker end

    def _size(self, run_uid: str) -> None:
        losses = 0
        while True:
            worker = self._a_worker()
            for word in worker.size(run_uid):
                if word == ANSWERED:
                    losses = 0
                elif word == DONE:
                    with self._lock:
                        self._idle.append(worker)
                    return
            losses += 1
            self._check_loss(worker, run_uid, losses)

    def _a_worker(self) -> _Worker:
        with self._lock:
            if self._closing:
                raise Unavailable("the replay was stopped")
            if self._idle:
                return self._idle.pop()
            worker = _Worker(self._order)
            self._workers.add(worker)
            return worker

    def _check_loss(self, worker: _Worker, run_uid: str, losses: int) -> None:
        """Raise unless another worker may take the run up."""
        code = worker.join(STOP_S)
        with self._lock:
            self._workers.discard(worker)
            if self._closing:
                raise Unavailable("the replay was stopped")
        if code > 0:
            raise Fatal("a worker of the replay ended with an error of its own; it stands above")
        # One that ends well was told to, by SIGTERM, by somebody else.
        name = signal.Signals(-code or signal.SIGTERM).name
        if losses >= (MOST_KILLED if code == -signal.SIGKILL else MAX_CRASHES + 1):
            raise Fatal(
                f"workers of the replay were lost {losses} times in a row ({name}), the last one "
                f"with run {run_uid}; where memory is short, use a smaller --at-once"
            )
        _log.warning("worker lost, another one goes on with its run", run=run_uid, signal=name)


class _Worker:
    """One process, as the thread sees it that looks after it."""

    def __init__(self, order: Order) -> None:
        context = get_context("spawn")  # a fork would share locks that other threads hold
        self._pipe, theirs = context.Pipe()
        self._process: SpawnProcess = context.Process(
            target=serve, args=(order, theirs), name="replay-worker", daemon=True
        )
        self._process.start()
        self._ending = threading.Lock()
        theirs.close()  # else its end would not be seen here

    def size(self, run_uid: str) -> Generator[str]:
        """Name a run; give what is said of it, until it is done or the process is lost.

        Raises:
            Fatal: the worker cannot go on.
        """
        try:
            self._pipe.send(run_uid)
            while True:
                word, text = self._pipe.recv()
                if word == FAILED:
                    raise Fatal(text)
                yield word
                if word == DONE:
                    return
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return

    def stop(self) -> None:
        """Ask it to end; may be called on any thread."""
        self._process.terminate()

    def join(self, patience_s: float) -> int:
        """Wait until it has ended, and end it where it does not; give its exit code."""
        with self._ending:  # one thread alone may wait for a process
            self._process.join(patience_s)
            if self._process.exitcode is None:
                self._process.kill()
                self._process.join()
            self._pipe.close()
            return self._process.exitcode or 0


def _without_interrupt() -> None:
    """Keep Ctrl-C from the workers that this thread starts: they inherit what it blocks."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
