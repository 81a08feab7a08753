"""Runs written into Tiled as a beamline does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from qd_agent.documents.tiled_stream import TiledDoor
from qd_agent.embedded import Endpoint, RunningServer
from qd_agent.sinks import TiledConnection, TiledSettings, resolve_tiled
from qd_agent.sinks.raw_archive import RawArchive
from tests.helpers.servers import tiled_client

Write = Callable[[str, Mapping[str, Any]], None]


@contextmanager
def writing(server: RunningServer | Endpoint) -> Iterator[Write]:
    """A beamline's writer into `raw`, which writes every document at once."""
    from bluesky_tiled_plugins import TiledWriter
    from tiled.structures.core import Spec

    with tiled_client(server) as client:
        if "raw" not in client:
            client.create_container("raw", specs=[Spec("CatalogOfBlueskyRuns", version="3.0")])
        writer = TiledWriter(client["raw"], batch_size=1)
        yield lambda name, doc: writer(name, dict(doc))


def door(
    server: RunningServer | Endpoint, settings: TiledSettings | None = None, **changes: Any
) -> TiledDoor:
    """What a source needs of a Tiled server, which `settings` may name otherwise."""
    connection = TiledConnection(server.url, server.secret)
    if settings is not None:
        connection = resolve_tiled(settings)
        assert connection is not None
        tls = None if connection.tls is None else connection.tls.context("tiled")
        changes = {"uri": connection.uri, "tls": tls, **changes}
    archive = RawArchive(TiledSettings(), connection)
    options = {
        "uri": server.url,
        "headers": {"Authorization": f"Apikey {server.secret}"},
        "tls": None,
        "root": ("raw",),
        "read": archive.run,
        "close": archive.close,
    }
    return TiledDoor(**(options | changes))
