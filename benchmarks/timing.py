"""What a benchmark says, and how it takes the time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One measured claim.

    Attributes:
        what: what was timed.
        seconds: median of the repeats.
        against: the peer or floor of the same run.
        against_seconds: median of its repeats.
    """

    what: str
    seconds: float
    against: str
    against_seconds: float

    @property
    def ratio(self) -> float:
        return self.seconds / self.against_seconds


@dataclass(frozen=True, slots=True)
class Note:
    """One line beside the rows: an error that was measured, a peer that is not installed."""

    text: str


def cpu_seconds(work: Callable[[], object], repeats: int = 1, warm: bool = False) -> float:
    """Median CPU seconds of this process; for work on one thread, what else runs does no harm."""
    if warm:
        work()
    spent: list[float] = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        spent.append(time.process_time() - start)
    return sorted(spent)[repeats // 2]


def medians(*works: Callable[[], object], repeats: int = 15) -> list[float]:
    """Median seconds of each work; turns are taken, so that a busy moment hits all alike."""
    spent: list[list[float]] = [[] for _ in works]
    for work in works:
        work()
    for _ in range(repeats):
        for work, times in zip(works, spent, strict=True):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
    return [sorted(times)[len(times) // 2] for times in spent]
