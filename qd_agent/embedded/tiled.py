"""A Tiled catalog server of our own, on loopback, with a random API key."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from qd_agent.core.errors import Fatal
from qd_agent.embedded.server import (
    RunningServer,
    launch,
    private_folder,
    publish_connection,
    stop_guard,
    wait_ready,
)

_READY_S = 120.0
"""The first start on a slow disk compiles some thousand Python files."""


def start_tiled(folder: Path, readable: Sequence[Path] = ()) -> RunningServer:
    """Start Tiled in `folder`; the catalog is kept there from one start to the next.

    The API key goes through the environment, never through an argument list.

    Raises:
        Fatal: Tiled's server is not installed, folder unusable or in use, or it did not come up.
    """
    _require_installed()
    folder = _usable(private_folder(folder))
    key = secrets.token_hex(32)
    ready_file = folder / "port.json"
    ready_file.unlink(missing_ok=True)
    settings = {
        "folder": str(folder),
        "readable": [str(path.resolve()) for path in readable],
        "ready_file": str(ready_file),
    }
    env = {
        "QD_EMBEDDED_TILED": json.dumps(settings),
        "TILED_SINGLE_USER_API_KEY": key,
        "PYTHONPATH": _search_path(),
        "PYTHONUNBUFFERED": "1",
    }
    command = [sys.executable, "-P", "-m", "qd_agent.embedded.tiled_server"]
    guard, pid, log = launch("tiled", command, folder, env)
    try:
        wait_ready("tiled", guard, log, lambda: _answers(ready_file), _READY_S)
    except Fatal:
        stop_guard(guard)
        raise
    url = f"http://127.0.0.1:{_port(ready_file)}/api/v1"
    server = RunningServer(url, key, folder=folder, pid=pid, process=guard, log=log)
    publish_connection(server)
    return server


def _require_installed() -> None:
    for module in ("tiled", "uvicorn", "fastapi", "bluesky_tiled_plugins"):
        if importlib.util.find_spec(module) is None:
            raise Fatal(
                f"the embedded tiled server needs the package {module}, which is not installed; "
                "pip install 'qd-agent[embedded]', or give the URI of a Tiled server"
            )


def _usable(folder: Path) -> Path:
    """Refuse names that Tiled takes for parts of a URI (every write would then fail)."""
    if any(mark in str(folder) for mark in "?#") or not str(folder).isprintable():
        raise Fatal(
            f"Tiled cannot keep data under {str(folder)!r}: choose a folder without '?', '#' "
            "and control characters in its path"
        )
    return folder


def _search_path() -> str:
    """Make sure that the server finds the very package that started it."""
    ours = str(Path(__file__).resolve().parents[2])
    theirs = os.environ.get("PYTHONPATH", "")
    return os.pathsep.join(filter(None, [ours, theirs]))


def _port(ready_file: Path) -> int | None:
    try:
        return int(json.loads(ready_file.read_text(encoding="utf-8"))["port"])
    except FileNotFoundError:
        return None


def _answers(ready_file: Path) -> bool:
    port = _port(ready_file)
    if port is None:
        return False
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2.0)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
