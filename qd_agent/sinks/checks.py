"""Proving before a beamtime that the stores can be used, and asking Redis who is alive."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from qd_agent.core.errors import Fatal, Unavailable
from qd_agent.sinks.connections import RedisConnection, TiledConnection
from qd_agent.sinks.settings import RedisSettings, TiledSettings

_DEEPEST = 4


def check_redis(settings: RedisSettings, connection: RedisConnection) -> str:
    """Write and take away one key; give one line that says what was found.

    Raises:
        Unavailable: Redis is away or takes nothing.
        Fatal: it refuses us.
    """
    from qd_agent.sinks.redis_link import connect, translated  # noqa: PLC0415 - a heavy client

    client = connect(connection)
    key = f"{settings.prefix}:check:{secrets.token_hex(8)}"
    try:
        with translated(connection):
            client.set(key, "1", ex=10)
            client.delete(key)
            version = _text_of(client.info("server"), "redis_version")
            runs = client.zcard(f"{settings.prefix}:runs")
    finally:
        client.close()
    return f"Redis {version} at {connection.shown}: writable, {runs} runs under '{settings.prefix}'"


def open_redis(connection: RedisConnection) -> str | None:
    """Try the door: give a sentence when anybody in reach of that Redis is let in, else None.

    A Redis without a password that listens on loopback alone, or in a file, is nobody's door.
    """
    from qd_agent.sinks.redis_link import connect, translated  # noqa: PLC0415 - a heavy client

    parts = urlsplit(connection.url)
    if parts.scheme == "unix":
        return None
    host = parts.netloc.rpartition("@")[2]
    nobody = replace(connection, url=urlunsplit((parts.scheme, host, "", "", "")), password=None)
    client = connect(nobody, timeout_s=3.0)
    try:
        with translated(nobody):
            client.ping()
            found: dict[Any, Any] = {}
            for name in ("bind", "protected-mode"):
                found.update(client.config_get(name))  # pyright: ignore[reportArgumentType, reportCallIssue] - also typed as awaitable
    except (Fatal, Unavailable):
        return None
    finally:
        client.close()
    settings = {_text(name): _text(value) for name, value in found.items()}
    listens = settings.get("bind", "").replace("-::", "::").split() or ["*"]
    if all(map(_is_loopback, listens)) or settings.get("protected-mode") == "yes":
        return None
    return (
        f"Redis at {nobody.shown} lets anybody in without a password and listens on "
        f"{' '.join(listens)}; set requirepass there and redis.password_file here, or bind it to "
        "127.0.0.1"
    )


def forgetful_redis(connection: RedisConnection) -> str | None:
    """Give a sentence when that Redis throws away any key once its memory is full, else None.

    One that throws away keys with an expiry alone (`volatile-…`) loses no size: those have none.

    Raises:
        Unavailable: Redis is away.
        Fatal: it refuses us.
    """
    from qd_agent.sinks.redis_link import connect, translated  # noqa: PLC0415 - a heavy client

    client = connect(connection, timeout_s=3.0)
    try:
        with translated(connection):
            memory = client.info("memory")
    finally:
        client.close()
    limit, policy = (_text_of(memory, name) for name in ("maxmemory", "maxmemory_policy"))
    if limit == "0" or not limit.isdecimal() or not policy.startswith("allkeys"):
        return None
    return (
        f"Redis at {connection.shown} throws keys away when its {int(limit) // 2**20} MiB are full "
        f"(maxmemory-policy {policy}), sizes of older runs too; set maxmemory-policy noeviction "
        "there"
    )


def open_tiled(connection: TiledConnection) -> bool:
    """Try the door: tell whether that Tiled shows its data to whoever has no key."""
    import httpx  # noqa: PLC0415 - only where something is checked

    verify = True if connection.tls is None else connection.tls.context("tiled")
    address = connection.uri.partition("?")[0].rstrip("/") + "/metadata/"
    try:
        answer = httpx.get(address, timeout=5.0, verify=verify, trust_env=False)
    except (httpx.HTTPError, httpx.InvalidURL, OSError):
        return False
    return answer.status_code == HTTPStatus.OK


def read_status(connection: RedisConnection, prefix: str = "qd") -> list[dict[str, str]]:
    """Give the heartbeat of every agent that is alive, in the order of their names.

    Each has the fields that the agent reported and `expires_in_s`.

    Raises:
        Unavailable: Redis is away.
        Fatal: it refuses us.
    """
    from qd_agent.sinks.redis_keys import Keys  # noqa: PLC0415
    from qd_agent.sinks.redis_link import connect, translated  # noqa: PLC0415 - a heavy client

    client = connect(connection)
    found: list[dict[str, str]] = []
    try:
        with translated(connection):
            for key in sorted(client.scan_iter(match=Keys(prefix).agent("*"), count=1000)):
                fields: dict[Any, Any] = client.hgetall(key)  # pyright: ignore[reportAssignmentType] - also typed as awaitable
                left = client.ttl(key)
                if fields:  # it may have expired since the scan
                    found.append(
                        {k.decode(): v.decode("utf-8", "replace") for k, v in fields.items()}
                        | {"expires_in_s": str(left)}
                    )
    finally:
        client.close()
    return found


def check_tiled(
    settings: TiledSettings, connection: TiledConnection, read_back: Sequence[str] | None = None
) -> str:
    """Open (or make) the container of runs; give one line that says what was found.

    Args:
        settings: which container.
        connection: where Tiled is.
        read_back: path of a run or an array, such as ('raw', uid); one frame of it is read.

    Raises:
        Unavailable: Tiled is away.
        Fatal: it refuses us, or there is no frame to read at `read_back`.
    """
    from qd_agent.sinks.tiled_link import open_tiled, translated  # noqa: PLC0415 - seconds
    from qd_agent.sinks.tiled_run import container_of_runs  # noqa: PLC0415

    with translated(connection), open_tiled(connection) as root:
        version = root.context.server_info.library_version
        runs = len(container_of_runs(root, settings.container))
        line = f"Tiled {version} at {connection.shown}: {runs} runs under '{settings.container}'"
        return line if read_back is None else f"{line}; {_read_frame(root, read_back)}"


def _read_frame(root: Any, path: Sequence[str]) -> str:
    shown = "/".join(path)
    node = root
    for key in path:
        node = node.get(key) if hasattr(node, "get") else None
        if node is None:
            raise Fatal(f"Tiled has nothing at {shown}: {key} is not there")
    found = _first_image(node, _DEEPEST, ())
    if found is None:
        raise Fatal(f"Tiled has no image at {shown}: no array of two or more dimensions below it")
    below, array = found
    frame = array[(0,) * (len(array.shape) - 2)]
    name = "/".join((*path, *below))
    return f"read a frame of {name}: {frame.shape}, {frame.dtype}"


def _first_image(
    node: Any, depth: int, path: tuple[str, ...]
) -> tuple[tuple[str, ...], Any] | None:
    """Find the first array with at least two dimensions and one frame, breadth not needed."""
    shape = getattr(node, "shape", None)
    if shape is not None:
        return (path, node) if len(shape) >= 2 and min(shape) > 0 else None
    if depth == 0 or not hasattr(node, "items"):
        return None
    for key, value in node.items():
        found = _first_image(value, depth - 1, (*path, str(key)))
        if found is not None:
            return found
    return None


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _text_of(info: Any, key: str) -> str:
    return str(info.get(key, "?"))
