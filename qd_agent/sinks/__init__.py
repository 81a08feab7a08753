"""Door to the stores: `open_sink` gives a place where predictions are kept.

A sink is told where its store is by a connection, which comes from the settings (`resolve_redis`,
`resolve_tiled`) or from the server that the agent has started itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

from qd_agent.sinks.connections import (
    RedisConnection,
    TiledConnection,
    redact,
    resolve_redis,
    resolve_tiled,
)
from qd_agent.sinks.settings import RedisSettings, TiledSettings

if TYPE_CHECKING:
    from qd_agent.sinks.redis_stream import RedisSink
    from qd_agent.sinks.tiled_catalog import TiledSink

__all__ = [
    "RedisConnection",
    "RedisSettings",
    "TiledConnection",
    "TiledSettings",
    "open_sink",
    "redact",
    "resolve_redis",
    "resolve_tiled",
]


@overload
def open_sink(
    settings: RedisSettings, connection: RedisConnection, agent_id: str = ...
) -> RedisSink: ...


@overload
def open_sink(
    settings: TiledSettings, connection: TiledConnection, agent_id: str = ...
) -> TiledSink: ...


def open_sink(
    settings: RedisSettings | TiledSettings,
    connection: RedisConnection | TiledConnection,
    agent_id: str = "qd-agent",
) -> RedisSink | TiledSink:
    """Connect to a store.

    Raises:
        Unavailable: the store is away.
        Fatal: it refuses us (wrong password or key), or is no such store.
    """
    if isinstance(settings, RedisSettings) and isinstance(connection, RedisConnection):
        from qd_agent.sinks.redis_stream import RedisSink  # noqa: PLC0415 - keep the door light

        return RedisSink(settings, connection, agent_id)
    if isinstance(settings, TiledSettings) and isinstance(connection, TiledConnection):
        from qd_agent.sinks.tiled_catalog import TiledSink  # noqa: PLC0415 - keep the door light

        return TiledSink(settings, connection)
    raise TypeError("settings and connection are of different stores")
