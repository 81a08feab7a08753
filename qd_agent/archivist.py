"""One thread that asks Tiled for raw runs, so that a slow archive never holds a frame up."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

from qd_agent.core.catalog import CatalogPage
from qd_agent.core.errors import QdError
from qd_agent.core.ports import Document

Answer = list[Document] | None
"""The documents of a run, or None when the archive does not have it."""

_T = TypeVar("_T")


class Archivist(threading.Thread):
    """Answers one question after the other.

    Args:
        run: gives a run's documents, or None; raises QdError.
        page: gives a page of the catalog of runs, or None when there is no catalog; raises QdError.
        close: called in the end, on the thread that asked.
    """

    def __init__(
        self,
        run: Callable[[str], Answer],
        page: Callable[[str | None], CatalogPage | None],
        close: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(name="archivist", daemon=True)
        self._ask_run, self._ask_page, self._close = run, page, close
        self._questions: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()

    def look(self, run_uid: str) -> Future[Answer]:
        """Ask for a run; may be called anywhere."""
        return self._put(partial(self._ask_run, run_uid))

    def page(self, following: str | None) -> Future[CatalogPage | None]:
        """Ask for the first page of the catalog, or for a following one."""
        return self._put(partial(self._ask_page, following))

    def _put(self, ask: Callable[[], _T]) -> Future[_T]:
        future: Future[_T] = Future()

        def answer() -> None:
            try:
                future.set_result(ask())
            except QdError as error:
                future.set_exception(error)

        self._questions.put(answer)
        return future

    def run(self) -> None:
        """Answer until `stop`."""
        while (answer := self._questions.get()) is not None:
            answer()
        self._close()

    def stop(self) -> None:
        """End the thread after the question in hand; nobody need wait for it."""
        self._questions.put(None)
