"""The agent with a way to die: `python chaos_agent.py run CONFIG` with QD_CHAOS set.

QD_CHAOS is empty (the agent as it is), or some of these, separated by ";":

- `POINT:N`: SIGKILL at the Nth passage of a point of `POINTS`; where that one fails, as at a store
  that is away, at the next one that does not
- `fsize:BYTES`: no file may be written beyond its first BYTES, as where the disk's quota ends
- `pages:N`: the ledger may grow by N pages, and pages that become free are taken up at once
- `prune:SECONDS`: old runs leave the ledger so often, not hourly
- `fit:N`: the explaining fit, by far the dearest step, is made for every Nth pattern only; those
  between are judged by the latest one, so their sizes mean nothing
- `trace:SECONDS`: what Python's memory grew by since the second look is written to trace.txt in
  the data folder, so often (twice as slow)

Nothing but what is named is changed, and nothing without QD_CHAOS.
"""

from __future__ import annotations

import gc
import importlib
import itertools
import os
import resource
import signal
import sqlite3
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

POINTS: dict[str, tuple[str, str, str]] = {
    # name: (class, method, when)
    "document noted, not committed": ("qd_agent.agent:Agent", "note", "after"),
    "frame begun": ("qd_agent.ledger.store:Ledger", "begin", "after"),
    "read": ("qd_agent.frames.reader:Reader", "read", "before"),
    "reduce": ("qd_agent.reduction.reducer:AzimuthalReducer", "reduce", "before"),
    "size": ("qd_agent.inference.sizer:NetworkSizer", "size", "before"),
    "sized, not written": ("qd_agent.ledger.store:Ledger", "predict", "before"),
    "written, not committed": ("qd_agent.ledger.outbox:Outbox", "owe", "after"),
    "committed": ("qd_agent.ledger.store:Ledger", "predict", "after"),
    "Redis, before": ("qd_agent.sinks.redis_stream:RedisSink", "_deliver", "before"),
    "Redis, published, not struck": ("qd_agent.sinks.redis_stream:RedisSink", "_deliver", "after"),
    "Tiled, patterns without rows": (
        "qd_agent.sinks.tiled_run:TiledRun",
        "_write_patterns",
        "after",
    ),
    "Tiled, rows written, not struck": ("qd_agent.sinks.tiled_run:TiledRun", "append", "after"),
    "run closed in the books": ("qd_agent.ledger.store:Ledger", "close_run", "after"),
    "taking up what was left": ("qd_agent.agent:Agent", "recover", "before"),
    "catalog read, not remembered": ("qd_agent.discovery:Discovery", "_enlist", "after"),
    "told by Tiled, not concluded": (
        "qd_agent.reconciliation:Reconciliation",
        "_conclude",
        "before",
    ),
}


def arm(order: str) -> None:
    """Do one of the things that QD_CHAOS asks for."""
    name, _, number = order.rpartition(":")
    if name == "fsize":
        _limit_files(int(number))
    elif name == "pages":
        _limit_pages(int(number))
    elif name == "prune":
        importlib.import_module("qd_agent.chores").PRUNE_EVERY_S = float(number)
    elif name == "fit":
        _fit_seldom(int(number))
    elif name == "trace":
        threading.Thread(target=_trace, args=(float(number),), daemon=True).start()
    else:
        _kill_at(name, int(number))


def _kill_at(point: str, passage: int) -> None:
    place, method, when = POINTS[point]
    module, _, class_name = place.partition(":")
    owner = getattr(importlib.import_module(module), class_name)
    original = getattr(owner, method)
    setattr(owner, method, dying(original, passage, when, lambda: _die(point)))


def dying(
    original: Callable[..., Any], passage: int, when: str, die: Callable[[], None]
) -> Callable[..., Any]:
    """Give `original` with an end to it: `die` is called before or after its Nth call.

    A call that raises has no after; then the next one that returns is meant.
    """
    passages = 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal passages
        passages += 1
        last = passages >= passage
        if last and when == "before":
            die()
        answer = original(*args, **kwargs)
        if last and when == "after":
            die()
        return answer

    return wrapped


def _die(point: str) -> None:
    os.write(2, f"chaos: killed at {point}\n".encode())
    os.kill(os.getpid(), signal.SIGKILL)


def _limit_files(size: int) -> None:
    """Nothing may be written beyond the first `size` bytes of a file (EFBIG).

    Both the ledger and its log are larger before long, however many free pages there are: a limit
    on growth alone is not reached while what was delivered makes room for what is new.
    """
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def _limit_pages(spare: int) -> None:
    """The ledger may take `spare` pages more, as on a full disk (SQLITE_FULL).

    What is delivered makes room for what is new, so that the end might not come for long: ballast
    takes that room.
    """
    database = importlib.import_module("qd_agent.ledger.database").Database
    opened, transaction = database.__init__, database.transaction

    def limited(self: Any, *args: Any, **kwargs: Any) -> None:
        opened(self, *args, **kwargs)
        pages = self.connection.execute("PRAGMA page_count").fetchone()[0]
        self.connection.execute(f"PRAGMA max_page_count = {pages + spare}")

    @contextmanager
    def crowded(self: Any) -> Generator[sqlite3.Connection]:
        with transaction(self) as connection:
            take_free_pages(connection)
            yield connection

    database.__init__, database.transaction = limited, crowded


def take_free_pages(connection: sqlite3.Connection) -> None:
    """Put ballast on all pages of an SQLite file that are free."""
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    if free:
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        connection.execute("CREATE TABLE IF NOT EXISTS chaos_ballast (bytes BLOB)")
        connection.execute("INSERT INTO chaos_ballast VALUES (zeroblob(?))", (free * size,))


def _fit_seldom(every: int) -> None:
    sizer = importlib.import_module("qd_agent.inference.sizer").NetworkSizer
    original = sizer._explained
    asked, latest = 0, None

    def seldom(self: Any, *args: Any) -> Any:
        nonlocal asked, latest
        if asked % every == 0:
            latest = original(self, *args)
        asked += 1
        return latest

    sizer._explained = seldom


def _trace(every: float) -> None:
    tracemalloc.start(4)
    target = Path(os.environ["QD_CHAOS_DATA"]) / "trace.txt"
    first: tracemalloc.Snapshot | None = None
    for look in itertools.count():
        time.sleep(every)
        gc.collect()
        here = tracemalloc.take_snapshot()
        if look == 1:
            first = here
        if first is not None:
            grown = here.compare_to(first, "traceback")[:25]
            lines = [line for stat in grown for line in (str(stat), *stat.traceback.format())]
            target.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    for order in filter(None, os.environ.get("QD_CHAOS", "").split(";")):
        arm(order)
    from qd_agent.cli import main

    sys.exit(main())
