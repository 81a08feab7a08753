"""The lock on a data folder: who holds it is the agent there."""

from __future__ import annotations

import fcntl
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from qd_agent.core.errors import Fatal


@contextmanager
def alone_in(folder: Path) -> Generator[None]:
    """Hold the data folder; a second agent in it would mix the books.

    Raises:
        Fatal: another process holds it, or it cannot be used.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "agent.lock").open("w")
    except OSError as error:
        raise Fatal(f"the data folder {folder} cannot be used: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Fatal(
                f"another agent works in the data folder {folder}; stop it, or set `data`"
            ) from error
        yield
