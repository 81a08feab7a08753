"""Fixtures of this folder."""

from collections.abc import Iterator

import pytest

from qd_agent.embedded import RunningServer, start_tiled
from tests.helpers.servers import redis_server

__all__ = ["redis_server"]


@pytest.fixture(scope="module")
def tiled_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One Tiled for all tests of a module, started as the agent starts it.

    Files under its folder's neighbour `readable` may be registered and read.
    """
    base = tmp_path_factory.mktemp("tiled")
    readable = base / "readable"
    readable.mkdir()
    server = start_tiled(base / "catalog", [readable])
    yield server
    server.stop()
