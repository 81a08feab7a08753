"""Connecting to Tiled, and its errors in our words."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from http import HTTPStatus
from ssl import SSLContext
from typing import Any
from urllib.parse import urlsplit

import httpx

from qd_agent.core.errors import Fatal, Unavailable
from qd_agent.sinks.connections import TiledConnection
from qd_agent.sinks.tls import hint

TIMEOUT = httpx.Timeout(20.0, connect=3.0)
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class Failed(Exception):  # noqa: N818 - the error is inside
    """One try of one request has failed; Tiled's client does not know this and lets it through."""

    def __init__(self, error: httpx.HTTPError) -> None:
        super().__init__(str(error))
        self.error = error


class OneTry(httpx.BaseTransport):
    """Hands failures to our caller at once.

    By itself Tiled's client would try for 45 s within one call, and so hold a thread that is told
    to stop; when to try again is decided by whoever delivers.
    """

    def __init__(self, inner: httpx.BaseTransport) -> None:
        self._inner = inner

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request. Raises Failed."""
        try:
            response = self._inner.handle_request(request)
            if _passes(response.status_code):
                response.close()
        except httpx.TransportError as exc:
            raise Failed(exc) from None
        if _passes(response.status_code):
            message = f"{response.status_code} {response.reason_phrase}"
            raise Failed(httpx.HTTPStatusError(message, request=request, response=response))
        return response

    def close(self) -> None:
        """Close the transport inside."""
        self._inner.close()


def connect_tiled(connection: TiledConnection) -> Any:
    """Give the client of the catalog's root; whoever calls it closes `client.context`.

    Raises:
        httpx and client errors, for `translated`.
    """
    from tiled.client import from_uri  # noqa: PLC0415 - a second, and only with Tiled in use

    # A proxy for the web has no business between us and our own machine.
    trust_env = urlsplit(connection.uri).hostname not in _LOOPBACK
    verify: Any = True if connection.tls is None else connection.tls.context("tiled")
    _knock(connection, trust_env=trust_env, verify=verify)
    root = from_uri(
        connection.uri,
        api_key=connection.api_key,
        timeout=TIMEOUT,
        verify=verify,
        trust_env=trust_env,
        show_progress=False,
    )
    client = root.context.http_client
    client._transport = OneTry(client._transport)
    return root


def _knock(connection: TiledConnection, *, trust_env: bool, verify: SSLContext | bool) -> None:
    """Ask once who is there, and whether we may come in."""
    headers = {"Authorization": f"Apikey {connection.api_key}"} if connection.api_key else {}
    answer = httpx.get(
        connection.uri.rstrip("/") + "/metadata/",
        headers={**headers, "Accept": "application/json"},
        timeout=TIMEOUT,
        trust_env=trust_env,
        verify=verify,
    )
    if answer.is_error:
        message = f"{answer.status_code} {answer.reason_phrase}"
        if answer.status_code == HTTPStatus.NOT_FOUND:
            message += "; check tiled.uri"
        raise httpx.HTTPStatusError(message, request=answer.request, response=answer)
    if not answer.headers.get("content-type", "").startswith("application/json"):
        raise ValueError("what answers there is no Tiled server; check tiled.uri")
    if urlsplit(connection.uri).scheme == "https" and _named(answer).startswith("http://"):
        # The client follows the links in the answers: our key would travel in the clear.
        raise ValueError(
            "it calls itself http:// in its answers; the proxy in front of it must send "
            "X-Forwarded-Proto: https, and the server believe it"
        )


def _named(answer: httpx.Response) -> str:
    """Give the address by which the server calls what we asked for, or ''."""
    try:
        links = answer.json()["data"]["links"]
        return str(links["self"])
    except (ValueError, KeyError, TypeError):  # of another version; then it cannot be told
        return ""


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
        try:
            yield
        except Failed as failed:
            raise failed.error from None
    except httpx.HTTPStatusError as exc:
        code, reason = exc.response.status_code, connection.clean(str(exc))
        if code in (401, 403):
            raise Fatal(f"{where} refuses us: {reason}; check the API key") from None
        if code == HTTPStatus.NOT_FOUND:
            raise Unavailable(f"{where} does not find what was there: {reason}") from None
        if _passes(code) or code == HTTPStatus.CONFLICT:
            raise Unavailable(f"{where} takes nothing now: {reason}") from None
        raise Fatal(f"{where} refuses: {reason}") from None
    except (httpx.UnsupportedProtocol, httpx.InvalidURL) as exc:
        raise Fatal(f"{where}: {connection.clean(str(exc))}; check tiled.uri") from None
    except (httpx.HTTPError, OSError) as exc:
        reason = hint(connection.clean(str(exc) or type(exc).__name__), "tiled")
        raise Unavailable(f"{where} is away: {reason}") from None
    except KeyError as exc:
        raise Unavailable(f"{where} has lost {connection.clean(str(exc))}") from None
    except (ValueError, RuntimeError) as exc:
        raise Fatal(f"{where} is not usable: {connection.clean(str(exc))}") from None


def _passes(code: int) -> bool:
    """Tell whether a refusal is worth another try: too early, too many, or the server's trouble."""
    return code in (408, 425, 429) or code >= HTTPStatus.INTERNAL_SERVER_ERROR
