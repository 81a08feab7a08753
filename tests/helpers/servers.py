"""Real servers for tests: a Redis and a Tiled, started as the agent starts them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from qd_agent.embedded import Endpoint, RunningServer, start_redis, start_tiled


@contextmanager
def running_redis(folder: Path) -> Iterator[RunningServer]:
    """A Redis with its data in `folder`, for as long as the block lasts."""
    server = start_redis(folder)
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def running_tiled(folder: Path, readable: Sequence[Path] = ()) -> Iterator[RunningServer]:
    """A Tiled with its catalog in `folder`, for as long as the block lasts."""
    server = start_tiled(folder, readable)
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def tiled_client(server: RunningServer | Endpoint) -> Iterator[Any]:
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
def tiled_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One Tiled (it takes seconds to start) for all tests of a module.

    Files under its folder's neighbour `readable` may be registered and read.
    """
    base = tmp_path_factory.mktemp("tiled")
    readable = base / "readable"
    readable.mkdir()
    with running_tiled(base / "catalog", [readable]) as server:
        yield server
