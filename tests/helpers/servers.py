"""Real servers for tests: a Redis and a Tiled, started as the agent starts them."""

from __future__ import annotations

import atexit
import functools
import json
import os
import secrets
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import redis

from qd_agent.embedded import Endpoint, RunningServer, start_redis
from tests.helpers import nursery


@contextmanager
def running_redis(folder: Path) -> Iterator[RunningServer]:
    """A Redis with its data in `folder`, for as long as the block lasts."""
    server = start_redis(folder)
    try:
        yield server
    finally:
        server.stop()


@dataclass(frozen=True)
class ForkedTiled:
    """A Tiled server as the agent starts it, but from the nursery, and without a guard."""

    url: str
    secret: str = field(repr=False)
    folder: Path
    process: nursery.Forked = field(repr=False)

    @property
    def pid(self) -> int:
        return self.process.pid

    def stop(self) -> None:
        """Stop it, gracefully, then by force."""
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def tiled_environment(folder: Path, readable: Sequence[Path], secret: str) -> dict[str, str]:
    """Give what a Tiled server is told: it writes its port into `port.json` in its folder."""
    settings = {
        "folder": str(folder.resolve()),
        "readable": [str(path.resolve()) for path in readable],
        "ready_file": str(folder.resolve() / "port.json"),
    }
    return {"QD_EMBEDDED_TILED": json.dumps(settings), "TILED_SINGLE_USER_API_KEY": secret}


def fork_tiled(folder: Path, readable: Sequence[Path] = ()) -> ForkedTiled:
    """Start a Tiled with its catalog in `folder`; files below `readable` may be registered."""
    folder.mkdir(parents=True, exist_ok=True)
    ready, secret = folder / "port.json", secrets.token_hex(32)
    ready.unlink(missing_ok=True)
    env = tiled_environment(folder, readable, secret)
    with (folder / "tiled.log").open("ab") as log:
        process = nursery.start(
            "tiled",
            ["-m", "qd_agent.embedded.tiled_server"],
            env={**os.environ, **env},
            cwd=folder,
            stdout=log,
            stderr=log,
        )
    deadline = time.monotonic() + 120
    while not (url := _url_once_it_answers(ready)):
        assert process.poll() is None, (folder / "tiled.log").read_text()
        assert time.monotonic() < deadline, "Tiled does not come up"
        time.sleep(0.02)
    return ForkedTiled(url, secret, folder, process)


def _url_once_it_answers(ready: Path) -> str:
    if not ready.exists():
        return ""
    url = f"http://127.0.0.1:{json.loads(ready.read_text())['port']}"
    try:
        return url + "/api/v1" if httpx.get(f"{url}/healthz", timeout=2).is_success else ""
    except httpx.HTTPError:
        return ""


@functools.cache
def shared_tiled() -> ForkedTiled:
    """One Tiled for all tests of this process that ask no more of it than to be there.

    What it may be asked for is read with its own key; it knows no raw runs.
    """
    folder = tempfile.TemporaryDirectory(prefix="tiled-")
    server = fork_tiled(Path(folder.name))
    atexit.register(folder.cleanup)
    atexit.register(server.stop)  # before its folder goes
    return server


@contextmanager
def running_tiled(folder: Path, readable: Sequence[Path] = ()) -> Iterator[ForkedTiled]:
    """A Tiled with its catalog in `folder`, for as long as the block lasts."""
    server = fork_tiled(folder, readable)
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def tiled_client(server: RunningServer | Endpoint | ForkedTiled) -> Iterator[Any]:
    """A plain Tiled client whose connections are closed after the block."""
    from tiled.client import from_uri

    client = from_uri(server.url, api_key=server.secret)
    try:
        yield client
    finally:
        client.context.close()


@contextmanager
def redis_client(server: RunningServer | Endpoint) -> Iterator[redis.Redis]:
    """A plain Redis client, closed after the block."""
    client = redis.Redis.from_url(server.url, password=server.secret)
    try:
        yield client
    finally:
        client.close()


def all_gone(processes: Sequence[psutil.Process], limit_s: float = 60.0) -> bool:
    """Wait until none of the processes runs any more; a zombie that nobody reaps does not run."""
    deadline = time.monotonic() + limit_s
    while any(map(_runs, processes)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One Redis for all tests of a module: give every test its own prefix or run uid."""
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def tiled_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkedTiled]:
    """One Tiled for all tests of a module.

    Files under its folder's neighbour `readable` may be registered and read.
    """
    base = tmp_path_factory.mktemp("tiled")
    readable = base / "readable"
    readable.mkdir()
    with running_tiled(base / "catalog", [readable]) as server:
        yield server
