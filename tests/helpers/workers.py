"""Workers of a replay that do what a test wants of them, in processes that start in a moment.

A run is named FOLDER/NAME, so that a worker leaves there what it did.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

PATIENCE_S = 60.0


def await_file(path: Path) -> None:
    """Wait until a file is there."""
    deadline = time.monotonic() + PATIENCE_S
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.01)


def meeting(order, pipe) -> None:
    """Say that a run is done only when as many have begun as `order` says."""
    while (name := _next(pipe)) is not None:
        name.touch()
        for number in range(order):
            await_file(name.parent / str(number))
        pipe.send(("done", str(name)))


def killed(order, pipe) -> None:
    """End by the signal `order`, with the first run."""
    name = _next(pipe)
    with name.open("a") as file:
        file.write("x")
    os.kill(os.getpid(), order)


def killed_after_an_answer(order, pipe) -> None:
    """Answer one frame, then be killed; with the sixth process, the run is done."""
    name = _next(pipe)
    with name.open("a") as file:
        file.write("x")
    if len(name.read_text()) == 6:
        pipe.send(("done", str(name)))
        _next(pipe)
        return
    pipe.send(("answered", str(name)))
    os.kill(os.getpid(), order)


def mistaken(order, pipe) -> None:
    """Have an error of one's own."""
    raise RuntimeError(f"a mistake of ours with {_next(pipe)}")


def failing(order, pipe) -> None:
    """Say that it cannot go on."""
    pipe.send(("failed", "the disk is full"))


def endless(order, pipe) -> None:
    """Begin a run and never be done with it; SIGTERM is heard only when `order` says so."""
    name = _next(pipe)
    if not order:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    name.write_text(str(os.getpid()))
    time.sleep(PATIENCE_S)


def _next(pipe) -> Path | None:
    try:
        return Path(pipe.recv())
    except EOFError:
        return None
