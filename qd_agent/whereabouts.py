"""Where the stores of a running agent are, by its configuration or its data folder."""

from __future__ import annotations

from pathlib import Path

from qd_agent.core.errors import Mistake
from qd_agent.embedded import find_server
from qd_agent.sinks import RedisConnection, TiledConnection, resolve_redis, resolve_tiled


def where_redis_is(config: Path | None, data: Path | None) -> tuple[RedisConnection, str]:
    """Give the agent's Redis, and the first part of its keys.

    Args:
        config: the agent's configuration, or None.
        data: data folder of an agent with embedded servers, when there is no configuration.

    Raises:
        Mistake: no Redis is configured, and none runs in the data folder.
    """
    prefix, folder = "qd", data
    if config is not None:
        from qd_agent.config import load_config  # noqa: PLC0415 - only with a configuration

        settings = load_config(config)
        prefix, folder = settings.redis.prefix, data or settings.data
        configured = resolve_redis(settings.redis)
        if configured is not None:
            return configured, prefix
    folder = folder or Path("qd-data")
    running = find_server(folder / "redis")
    if running is None:
        raise Mistake(
            f"no embedded Redis runs in {folder}: is the agent up? "
            "Give its configuration, or its data folder with --data"
        )
    return RedisConnection(running.url, running.secret), prefix


def where_tiled_is(config: Path | None, data: Path | None) -> tuple[TiledConnection, str]:
    """Give the agent's Tiled, and its container of runs; as `where_redis_is`.

    Raises:
        Mistake: no Tiled is configured, and none runs in the data folder.
    """
    container, folder = "qd_agent", data
    if config is not None:
        from qd_agent.config import load_config  # noqa: PLC0415 - only with a configuration

        settings = load_config(config)
        container, folder = settings.tiled.container, data or settings.data
        configured = resolve_tiled(settings.tiled)
        if configured is not None:
            return configured, container
    folder = folder or Path("qd-data")
    running = find_server(folder / "tiled")
    if running is None:
        raise Mistake(f"no embedded Tiled runs in {folder}: is the agent up?")
    return TiledConnection(running.url, running.secret), container
