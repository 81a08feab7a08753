"""Connecting to Tiled, and its errors in our words."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import httpx

from qd_agent.core.errors import Fatal, Unavailable
from qd_agent.sinks.connections import TiledConnection

TIMEOUT = httpx.Timeout(20.0, connect=3.0)
_PASSING = frozenset({408, 409, 423, 425, 429})
"""Refusals (HTTP status) after which trying again makes sense; so does every 5xx."""
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def connect_tiled(connection: TiledConnection) -> Any:
    """Give the client of the catalog's root; whoever calls it closes `client.context`.

    Raises:
        httpx and client errors, for `translated`.
    """
    # Tiled's client reads this when it is first imported. By itself it would try for 45 s within
    # one call, and keep a thread that is told to stop waiting; trying again is our caller's part.
    os.environ.setdefault("TILED_RETRY_ATTEMPTS", "1")
    from tiled.client import from_uri  # noqa: PLC0415 - a second, and only with Tiled in use

    return from_uri(
        connection.uri,
        api_key=connection.api_key,
        timeout=TIMEOUT,
        # A proxy for the web has no business between us and our own machine.
        trust_env=urlsplit(connection.uri).hostname not in _LOOPBACK,
        show_progress=False,
    )


@contextmanager
def open_tiled(connection: TiledConnection) -> Generator[Any]:
    """Give the client of the catalog's root, closed after the block."""
    root = connect_tiled(connection)
    try:
        yield root
    finally:
        root.context.close()


@contextmanager
def translated(connection: TiledConnection) -> Generator[None]:
    """Turn the client's errors into ours, without secrets and without the original's arguments.

    Raises:
        Unavailable: Tiled is away, or has lost what we wrote to (it will be made again).
        Fatal: it refuses us for good.
    """
    where = f"Tiled at {connection.shown}"
    try:
        yield
    except httpx.HTTPStatusError as exc:
        code, reason = exc.response.status_code, connection.clean(str(exc))
        if code in (401, 403):
            raise Fatal(f"{where} refuses us: {reason}; check the API key") from None
        if code == HTTPStatus.NOT_FOUND:
            raise Unavailable(f"{where} does not find what was there: {reason}") from None
        if code in _PASSING or code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise Unavailable(f"{where} takes nothing now: {reason}") from None
        raise Fatal(f"{where} refuses: {reason}") from None
    except (httpx.UnsupportedProtocol, httpx.InvalidURL) as exc:
        raise Fatal(f"{where}: {connection.clean(str(exc))}; check tiled.uri") from None
    except (httpx.HTTPError, OSError) as exc:
        reason = connection.clean(str(exc) or type(exc).__name__)
        raise Unavailable(f"{where} is away: {reason}") from None
    except KeyError as exc:
        raise Unavailable(f"{where} has lost {connection.clean(str(exc))}") from None
    except (ValueError, RuntimeError) as exc:
        raise Fatal(f"{where} is not usable: {connection.clean(str(exc))}") from None
