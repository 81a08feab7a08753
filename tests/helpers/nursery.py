"""Processes that are forked from one which has imported everything: real ones, without the wait.

Half of what a system test costs are the imports of the processes that it starts. `start` has its
process forked instead: its own pid, memory, signals and end, the same code from `__main__` on. What
must begin as a user's command does (`-W`, an environment that counts at import, memory that is
measured) is started with `subprocess`.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import io
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PRELOADED: dict[str, tuple[str, ...]] = {
    "bare": (),
    "agent": (
        "torch", "h5py", "pyarrow", "redis", "tiled.client", "zmq", "qd_agent.cli",
        "qd_agent.daemon", "qd_agent.documents.router", "qd_agent.documents.zmq",
        "qd_agent.embedded.redis", "qd_agent.embedded.tiled", "qd_agent.frames.hdf5",
        "qd_agent.frames.reader", "qd_agent.inference.sizer", "qd_agent.reduction.reducer",
        "qd_agent.sinks.redis_stream", "qd_agent.sinks.tiled_catalog",
    ),
    "beamline": (
        "bluesky.run_engine", "fabio", "hdf5plugin", "h5py", "simulated_beamline.cli",
        "simulated_beamline.beamline", "simulated_beamline.scenes", "tifffile",
    ),
    "tiled": (
        "bluesky_tiled_plugins.exporters", "qd_agent.embedded.tiled_server", "tiled.catalog",
        "tiled.server.app", "uvicorn",
    ),
}  # fmt: skip
"""What processes of each kind import before they are ready; the rest they import themselves."""
_ALONE = {"OMP_NUM_THREADS": "1", "NUMEXPR_MAX_THREADS": "1", "NUMEXPR_NUM_THREADS": "1"}
"""No threads at import."""
_WORD = struct.Struct("i")
_LARGEST = 1 << 17
"""Most bytes of an order: arguments and environment."""


class Forked:
    """A process of the nursery, with those methods of `subprocess.Popen` that tests use."""

    def __init__(self, answers: int, stdout: Any, stderr: Any) -> None:
        self.stdout, self.stderr = stdout, stderr
        self.returncode: int | None = None
        self._answers, self._lock = answers, threading.Lock()
        first = os.read(answers, _WORD.size)
        assert first, "the nursery has ended; why stands on its standard error"
        self.pid: int = _WORD.unpack(first)[0]

    def poll(self) -> int | None:
        """Give the exit status, negative for a signal; None while it runs."""
        return self._look(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, at most `timeout`, s. Raises subprocess.TimeoutExpired."""
        code = self._look(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
        return code

    def _look(self, timeout: float | None) -> int | None:
        with self._lock:
            if self.returncode is None and select.select([self._answers], [], [], timeout)[0]:
                answer = os.read(self._answers, _WORD.size)
                os.close(self._answers)
                assert answer, "the nursery has died"
                self.returncode = _WORD.unpack(answer)[0]
            return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[Any, Any]:
        """Read what it says to the end, and wait for that. Raises subprocess.TimeoutExpired."""
        said: dict[int, Any] = {}
        pipes = [pipe for pipe in (self.stdout, self.stderr) if pipe is not None]
        readers = [
            threading.Thread(target=_read_out, args=(pipe, said), daemon=True) for pipe in pipes
        ]
        for reader in readers:
            reader.start()
        deadline = None if timeout is None else time.monotonic() + timeout
        for reader in readers:
            reader.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
            if reader.is_alive():
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
        self.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
        for pipe in pipes:
            pipe.close()
        return said.get(id(self.stdout)), said.get(id(self.stderr))


def _read_out(pipe: Any, said: dict[int, Any]) -> None:
    said[id(pipe)] = pipe.read()


def start(
    kind: str,
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path = ROOT,
    stdout: Any = subprocess.DEVNULL,
    stderr: Any = subprocess.DEVNULL,
    text: bool = False,
    start_new_session: bool = False,
) -> Forked:
    """Start `["-m", module, ...]` or `[script, ...]`, as `python -P` would.

    Args:
        kind: which of `PRELOADED`; a process of another kind works as well, and takes longer.
        command: what would follow `python -P`.
        env: the environment; what counts at import is the nursery's own (one thread for numbers).
        cwd: folder to begin in.
        stdout: subprocess.DEVNULL, subprocess.PIPE, or a file.
        stderr: the same.
        text: whether pipes give text.
        start_new_session: whether it leads a session of its own.
    """
    order = json.dumps(
        {"command": list(command), "env": dict(env), "cwd": str(cwd), "session": start_new_session}
    ).encode()
    answers, answer = os.pipe()
    nothing = os.open(os.devnull, os.O_RDWR)
    ends = [_end(place, nothing, text=text) for place in (stdout, stderr)]
    given = [nothing, *(descriptor for descriptor, _ in ends), answer]
    try:
        socket.send_fds(nursery(kind), [order], given)
    finally:
        pipes = [d for (d, ours) in ends if ours is not None]
        for descriptor in (nothing, answer, *pipes):
            os.close(descriptor)
    return Forked(answers, *(ours for _, ours in ends))


def _end(place: Any, nothing: int, *, text: bool) -> tuple[int, Any]:
    """Give the descriptor that the process writes to, and where we read it."""
    if place == subprocess.DEVNULL:
        return nothing, None
    if place != subprocess.PIPE:
        return place.fileno(), None
    reading, writing = os.pipe()
    raw = os.fdopen(reading, "rb")
    return writing, io.TextIOWrapper(raw) if text else raw


@functools.cache
def nursery(kind: str) -> socket.socket:
    """Start the process that all others of a kind are forked from; it ends with this one."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = subprocess.Popen(
        [sys.executable, "-P", __file__, kind, str(theirs.fileno())],
        stdin=subprocess.DEVNULL,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **_ALONE},
        pass_fds=[theirs.fileno()],
    )
    theirs.close()

    def end() -> None:
        ours.close()
        process.wait(60)

    atexit.register(end)
    return ours


def serve(orders: socket.socket) -> Callable[[], object] | None:
    """Fork a process for every order; in each give what it is to run, None when orders end."""
    woken, wake = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([orders, woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            _reap(answers)
        if orders not in ready:
            continue
        order, given, _, _ = socket.recv_fds(orders, _LARGEST, 4)
        if not order:
            return None
        pid = os.fork()
        if pid == 0:
            for descriptor in (woken, wake, *answers.values()):
                os.close(descriptor)
            orders.close()
            return _begin(json.loads(order), given)
        os.write(given[3], _WORD.pack(pid))
        answers[pid] = given[3]
        for descriptor in given[:3]:
            os.close(descriptor)


def _reap(answers: dict[int, int]) -> None:
    for pid, answer in list(answers.items()):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            with contextlib.suppress(BrokenPipeError):  # nobody asks any more
                os.write(answer, _WORD.pack(os.waitstatus_to_exitcode(status)))
            os.close(answers.pop(pid))


def _begin(order: Mapping[str, Any], given: Sequence[int]) -> Callable[[], object]:
    """Become what was ordered: descriptors, signals, environment and arguments."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if order["session"]:
        os.setsid()
    for number, descriptor in enumerate(given[:3]):
        os.dup2(descriptor, number)
    for descriptor in given:
        os.close(descriptor)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    first, *arguments = order["command"]
    if first != "-m":
        sys.argv = [first, *arguments]
        return functools.partial(runpy.run_path, first, run_name="__main__")
    sys.argv = arguments
    return functools.partial(runpy.run_module, arguments[0], run_name="__main__", alter_sys=True)


def _tasks() -> list[Path]:
    """Give the threads of this process but the first."""
    tasks = Path("/proc/self/task").iterdir()
    return [task for task in tasks if task.name != str(os.getpid())]


def main() -> None:
    """Import, then serve until the tests have ended."""
    kind, descriptor = sys.argv[1:]
    orders = socket.socket(fileno=int(descriptor))
    for name in PRELOADED[kind]:
        importlib.import_module(name)
    threads = {task.joinpath("comm").read_text().strip() for task in _tasks()}
    # Of two threads one would be missing in what is forked; jemalloc's (pyarrow) starts it anew.
    assert threads <= {"jemalloc_bg_thd"}, f"with {threads} in it, this process cannot be forked"
    gc.freeze()  # whoever is forked does not look through all this again
    run = serve(orders)
    if run is not None:
        run()


if __name__ == "__main__":
    main()
