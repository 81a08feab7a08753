"""How far a replay is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

SAY_EVERY_S = 10.0
"""Pause between lines about the progress where nobody watches a bar."""


class _Lines:
    """Says how far it is, at most every SAY_EVERY_S seconds, and at the end."""

    def __init__(self, what: str, total: int | None) -> None:
        self._what, self._total = what, total
        self._done, self._said = 0, time.monotonic()

    def advance(self) -> None:
        self._done += 1
        now = time.monotonic()
        if self._done == self._total or now - self._said >= SAY_EVERY_S:
            self._said = now
            of = "" if self._total is None else f" of {self._total}"
            sys.stderr.write(f"{self._done}{of} {self._what}\n")
            sys.stderr.flush()


@contextmanager
def progress(what: str, total: int | None) -> Generator[Callable[[], None]]:
    """Show a bar on a terminal; elsewhere, as in a log, a line now and then."""
    if not sys.stderr.isatty():
        yield _Lines(what, total).advance
        return
    from rich.console import Console  # noqa: PLC0415 - only where it is shown
    from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console) as shown:
        task = shown.add_task(what, total=total)
        yield lambda: shown.advance(task)
