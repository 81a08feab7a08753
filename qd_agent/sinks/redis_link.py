"""Connecting to Redis, and its errors in our words."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager

import redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    NoPermissionError,
    RedisError,
    ResponseError,
)
from redis.retry import Retry

from qd_agent.core.errors import Fatal, Mistake, Unavailable
from qd_agent.sinks.connections import RedisConnection
from qd_agent.sinks.tls import hint

_PASSING = re.compile(
    r"\b(OOM|MISCONF|READONLY|LOADING|BUSY|MASTERDOWN|NOREPLICAS|TRYAGAIN|CLUSTERDOWN)\b.*"
)
"""Refusals that end when somebody makes room or a server has come up; also from inside a script."""


def connect(connection: RedisConnection, timeout_s: float = 10.0) -> redis.Redis:
    """Make a client; nothing is sent yet.

    Raises:
        Mistake: the URL is malformed.
    """
    try:
        client = redis.Redis.from_url(
            connection.url,
            password=connection.password,
            **_tls_options(connection),
            socket_connect_timeout=3.0,
            socket_timeout=timeout_s,
            # Once: a connection that broke while idle. Everything that we send may be repeated.
            retry=Retry(NoBackoff(), 1),
        )
        # Options in the URL that the client does not know would show only when it connects.
        client.connection_pool.connection_class(**client.connection_pool.connection_kwargs)
    except (ValueError, TypeError) as exc:
        raise Mistake(f"redis.url {connection.shown}: {connection.clean(str(exc))}") from None
    return client


@contextmanager
def translated(connection: RedisConnection) -> Generator[None]:
    """Turn the client's errors into ours, without secrets and without the original's arguments.

    Raises:
        Unavailable: Redis is away, full or read-only.
        Fatal: it refuses us for good.
    """
    where = f"Redis at {connection.shown}"
    try:
        yield
    except (AuthenticationError, AuthorizationError, NoPermissionError) as exc:
        reason = connection.clean(str(exc))
        raise Fatal(f"{where} refuses us: {reason}; check redis.url and its password") from None
    except ResponseError as exc:
        reason = connection.clean(str(exc))
        if passing := _PASSING.search(reason):
            raise Unavailable(f"{where} takes nothing now: {passing.group()}") from None
        raise Fatal(f"{where} refuses: {reason}") from None
    except (RedisError, OSError) as exc:
        reason = hint(connection.clean(str(exc)), "redis")
        raise Unavailable(f"{where} is away: {reason}") from None


def _tls_options(connection: RedisConnection) -> dict[str, str]:
    """Give the client's options for TLS; it checks certificate and host name by itself."""
    if connection.tls is None:
        return {}
    files = {
        "ssl_ca_certs": connection.tls.ca_file,
        "ssl_certfile": connection.tls.certificate_file,
        "ssl_keyfile": connection.tls.key_file,
    }
    return {name: str(path) for name, path in files.items() if path is not None}
