"""The lock on a data folder: who holds it is the agent there."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from qd_agent.core.errors import Fatal


@contextmanager
def alone_in(folder: Path, patience_s: float = 1.0) -> Generator[None]:
    """Hold the data folder; a second agent in it would mix the books.

    Args:
        folder: the data folder; made when missing.
        patience_s: how long to try: a command may hold it for a moment, to see whether it is held.

    Raises:
        Fatal: another process holds it, or it cannot be used.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "agent.lock").open("w")
    except OSError as error:
        raise Fatal(f"the data folder {folder} cannot be used: {error.strerror}") from error
    with lock:
        deadline = time.monotonic() + patience_s
        while not _locked(lock):
            if time.monotonic() >= deadline:
                raise Fatal(
                    f"another agent works in the data folder {folder}; stop it, or set `data`"
                )
            time.sleep(0.05)
        yield


def _locked(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
