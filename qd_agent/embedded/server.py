"""Starting, finding and stopping one server of our own."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from qd_agent.core.errors import Fatal

GRACE_S = 8.0
"""How long a server may take to stop before it is killed."""
LOCK_WAIT_S = 12.0
"""How long to wait for a folder that a server of an agent just gone may still hold."""
_CONNECTION = "connection.json"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server is and how to get in. The secret stays out of every repr.

    Attributes:
        url: 'redis://127.0.0.1:<port>/0' or 'http://127.0.0.1:<port>/api/v1'.
        secret: password (Redis) or API key (Tiled).
    """

    url: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that lives until `stop`, or until this process ends, however it ends.

    Attributes:
        url: as in `Endpoint`.
        secret: as in `Endpoint`.
        folder: where the data, the log and the connection file are.
        pid: of the server itself.
        process: the guard that stands between this process and the server.
        log: what the server prints.
    """

    url: str
    secret: str = field(repr=False)
    folder: Path
    pid: int
    process: subprocess.Popen[bytes] = field(repr=False)
    log: Path

    @property
    def endpoint(self) -> Endpoint:
        """Where it is and how to get in."""
        return Endpoint(self.url, self.secret)

    def alive(self) -> bool:
        """Tell whether the server is running; the guard ends with it."""
        return self.process.poll() is None

    def last_line(self) -> str:
        """Give the last thing that the server printed, or ''."""
        return last_line(self.log)

    def stop(self) -> None:
        """Stop the server, gracefully, then by force. Again: nothing happens."""
        stop_guard(self.process)
        if self.process.poll() is not None:
            (self.folder / _CONNECTION).unlink(missing_ok=True)


def private_folder(folder: Path) -> Path:
    """Make `folder`, readable by its owner alone, and give its absolute path.

    Raises:
        Fatal: it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError as exc:
        raise Fatal(f"cannot make the folder {folder}: {exc.strerror}; choose another") from exc
    return folder.resolve()


def write_private(path: Path, text: str) -> None:
    """Write a file that its owner alone can read (mode 0600), whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    part.replace(path)


def find_server(folder: Path) -> Endpoint | None:
    """Give the server that another process of this user runs in `folder`, or None.

    A note that a killed server has left does not count: nobody holds the folder's lock then.
    """
    try:
        found: object = json.loads((folder / _CONNECTION).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict) or not {"url", "secret"} <= found.keys():
        return None
    if not any(_held(lock) for lock in folder.glob("*.lock")):
        return None
    return Endpoint(str(found["url"]), str(found["secret"]))


def _held(lock: Path) -> bool:
    """Tell whether a server works in the lock's folder; the lock ends with it, however it ends."""
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def publish_connection(server: RunningServer) -> None:
    """Leave a note in the folder by which `find_server` finds this server."""
    note = {"url": server.url, "secret": server.secret, "pid": server.pid}
    write_private(server.folder / _CONNECTION, json.dumps(note))


def last_line(log: Path) -> str:
    """Give the last non-empty line of a log, shortened to 300 characters, or ''."""
    try:
        with log.open(encoding="utf-8", errors="replace") as file:
            lines = deque((line.strip() for line in file if line.strip()), maxlen=1)
    except OSError:
        return ""
    return lines[0][:300] if lines else ""


def launch(
    name: str,
    argv: Sequence[str],
    folder: Path,
    env: Mapping[str, str] | None = None,
    deadline_s: float = 30.0,
) -> tuple[subprocess.Popen[bytes], int, Path]:
    """Start `argv` in `folder` under a guard; give the guard, the server's pid and its log.

    Raises:
        Fatal: it could not be started, or another server works in the folder.
    """
    log = folder / f"{name}.log"
    order = {
        "argv": list(argv),
        "env": dict(env or {}),
        "folder": str(folder),
        "log": str(log),
        "lock": str(folder / f"{name}.lock"),
        "lock_wait_s": LOCK_WAIT_S,
        "grace_s": GRACE_S,
    }
    guard = subprocess.Popen(  # noqa: S603 - our own interpreter and script, no shell
        # -I: the script's folder must not come into sys.path, it has a module named redis.
        [sys.executable, "-I", "-S", str(Path(__file__).with_name("guard.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C in a terminal is for the agent, which then stops it
    )
    answer = _ask(guard, json.dumps(order).encode() + b"\n", deadline_s)
    pid = answer.get("pid")
    if not isinstance(pid, int):
        stop_guard(guard)
        reason = answer.get("error", "its guard process did not answer")
        raise Fatal(f"cannot start the embedded {name} server in {folder}: {reason}")
    return guard, pid, log


def wait_ready(
    name: str, guard: subprocess.Popen[bytes], log: Path, ready: Callable[[], bool], limit_s: float
) -> None:
    """Wait until `ready()` is true.

    Raises:
        Fatal: the server ended or did not answer in time; its last words are in the message.
    """
    deadline = time.monotonic() + limit_s
    while not ready():
        if guard.poll() is not None:
            raise Fatal(f"the embedded {name} server stopped at once: {last_line(log)} (see {log})")
        if time.monotonic() > deadline:
            stop_guard(guard)
            raise Fatal(
                f"the embedded {name} server did not answer within {limit_s:g} s; "
                f"its last words: {last_line(log)} (see {log})"
            )
        time.sleep(0.02)


def stop_guard(guard: subprocess.Popen[bytes]) -> None:
    """End a guard and with it its server; harmless when it has ended already."""
    if guard.stdin is not None:
        with contextlib.suppress(OSError):
            guard.stdin.close()
    try:
        guard.wait(GRACE_S + 4.0)
    except subprocess.TimeoutExpired:
        guard.kill()
        guard.wait()
    if guard.stdout is not None:
        guard.stdout.close()


def _ask(guard: subprocess.Popen[bytes], order: bytes, limit_s: float) -> dict[str, object]:
    """Send the order and give the guard's one line of answer, or {} when none came in time."""
    if guard.stdin is None or guard.stdout is None:
        return {}
    with contextlib.suppress(BrokenPipeError):
        guard.stdin.write(order)
        guard.stdin.flush()
    answer = b""
    deadline = time.monotonic() + limit_s
    while not answer.endswith(b"\n"):
        left = max(0.0, deadline - time.monotonic())
        if not select.select([guard.stdout], [], [], left)[0]:
            return {}
        part = os.read(guard.stdout.fileno(), 4096)
        if not part:
            return {}
        answer += part
    found: dict[str, object] = json.loads(answer)
    return found
