"""One thread that asks Tiled for raw runs, so that a slow archive never holds a frame up."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future

from qd_agent.core.errors import QdError
from qd_agent.core.ports import Document

Answer = list[Document] | None
"""The documents of a run, or None when the archive does not have it."""


class Archivist(threading.Thread):
    """Looks runs up, one after the other.

    Args:
        ask: gives a run's documents, or None; raises QdError.
    """

    def __init__(self, ask: Callable[[str], Answer]) -> None:
        super().__init__(name="archivist", daemon=True)
        self._ask = ask
        self._questions: queue.SimpleQueue[tuple[str, Future[Answer]] | None] = queue.SimpleQueue()

    def look(self, run_uid: str) -> Future[Answer]:
        """Ask for a run; may be called anywhere."""
        future: Future[Answer] = Future()
        self._questions.put((run_uid, future))
        return future

    def run(self) -> None:
        """Answer until `stop`."""
        while (question := self._questions.get()) is not None:
            run_uid, future = question
            try:
                future.set_result(self._ask(run_uid))
            except QdError as error:
                future.set_exception(error)

    def stop(self) -> None:
        """End the thread after the question in hand; nobody need wait for it."""
        self._questions.put(None)
