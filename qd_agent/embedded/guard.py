"""A small process between the agent and a server, so that the server can never be orphaned.

Run as a script (standard library only, it starts in some 20 ms). The first line on stdin is a
JSON object; the answer is one JSON line on stdout: the server's pid, or what went wrong. After
that the guard watches stdin: its end means that the agent stopped the server, or died, however
suddenly. The server itself is told by the kernel when the guard dies (Linux). The guard has one
thread, so what the kernel watches is the guard's life and not that of some thread of the agent.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import IO, TypedDict


class Order(TypedDict):
    """What the agent asks for: a server to run in `folder`, which it then owns alone."""

    argv: list[str]
    env: dict[str, str]
    folder: str
    log: str
    lock: str
    lock_wait_s: float
    grace_s: float


class InUse(Exception):  # noqa: N818 - the name says what it is
    """Another server works in the folder."""


def main() -> int:
    """Run one server until it ends, stdin ends, the parent goes away, or SIGTERM arrives."""
    parent = os.getppid()
    line = _first_line()
    if not line:
        return 0
    order: Order = json.loads(line)
    try:
        lock = _lock(order["lock"], order["lock_wait_s"])
        wake = _wake_on_signals()
        server = _start(order, lock)
    except InUse as exc:
        _answer({"error": str(exc)})
        return 1
    except OSError as exc:
        _answer({"error": f"{exc.strerror or exc}: {exc.filename or order['argv'][0]}"})
        return 1
    _answer({"pid": server.pid})
    _watch(server, parent, wake)
    return _stop(server, order["grace_s"])


def _first_line() -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(0, 65536)
        if not part:
            return b""
        line += part
    return line


def _answer(message: dict[str, object]) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(1, json.dumps(message).encode() + b"\n")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def _lock(path: str, wait_s: float) -> int:
    """Take the folder for this server alone; two servers on one set of files destroy them."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise InUse(
                    "in use by another server; stop it or choose another data folder"
                ) from None
            time.sleep(0.05)
        else:
            return descriptor


def _wake_on_signals() -> int:
    """Give the read end of a pipe that gets a byte (the signal's number) with every signal."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    return reading


def _start(order: Order, lock: int) -> subprocess.Popen[bytes]:
    with _log_file(order["log"]) as log:
        return subprocess.Popen(  # noqa: S603 - the agent's own command line, no shell
            order["argv"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=order["folder"],
            env={**os.environ, **order["env"]},
            pass_fds=(lock,),  # the server holds the lock too: it may outlive this guard a moment
            preexec_fn=_die_with(os.getpid()),  # noqa: PLW1509 - this process has one thread
        )


def _log_file(path: str) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab")


def _die_with(guard: int) -> Callable[[], None] | None:
    """Ask the kernel to end the server when this guard dies (prctl(2), PR_SET_PDEATHSIG = 1)."""
    if not sys.platform.startswith("linux"):
        return None
    import ctypes  # noqa: PLC0415 - Linux only

    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def ask() -> None:
        prctl(1, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != guard:  # it died before the kernel was asked
            os._exit(1)

    return ask


def _watch(server: subprocess.Popen[bytes], parent: int, wake: int) -> None:
    """Return when the server has ended or should end."""
    while server.poll() is None and os.getppid() == parent:
        # The timeout serves the rare case that a forked sibling holds the pipe of a dead agent.
        ready, _, _ = select.select([0, wake], [], [], 1.0)
        if 0 in ready and not os.read(0, 4096):
            return
        if wake in ready and set(os.read(wake, 4096)) - {signal.SIGCHLD}:
            return


def _stop(server: subprocess.Popen[bytes], grace_s: float) -> int:
    if server.poll() is None:
        server.terminate()
        try:
            server.wait(grace_s)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
    return abs(server.returncode) & 0xFF


if __name__ == "__main__":
    sys.exit(main())
