"""Who may look: loopback without a token, everybody else with one; and what the page may load."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qd_agent.core.errors import Mistake
from qd_agent.dashboard.settings import DashboardSettings

SHORTEST_TOKEN = 16
_LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})

HEADERS = {
    # Plotly places its elements by style attributes; scripts are our own files and nothing else.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self' "
    "'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self'; font-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


@dataclass(frozen=True, slots=True)
class Token:
    """What viewers show once; afterwards a cookie stands for it, from which it cannot be got."""

    value: str = field(repr=False)

    @property
    def cookie_name(self) -> str:
        """Name of the cookie; another token, another cookie, for pages on one host."""
        return f"qd_{self._digest('name')[:8]}"

    @property
    def cookie_value(self) -> str:
        """What the cookie holds."""
        return self._digest("session")

    def matches(self, offered: str) -> bool:
        """Compare in a time that does not tell how much of it was right."""
        return hmac.compare_digest(offered.encode(), self.value.encode())

    def admits(self, cookie: str) -> bool:
        """Compare a cookie, likewise."""
        return hmac.compare_digest(cookie.encode(), self.cookie_value.encode())

    def _digest(self, purpose: str) -> str:
        return hmac.new(self.value.encode(), purpose.encode(), hashlib.sha256).hexdigest()


def choose_token(settings: DashboardSettings) -> Token | None:
    """Give the token that viewers need; None on loopback, unless one is configured.

    Raises:
        Mistake: the file is absent, or its token is too short to keep anybody out.
    """
    if settings.token_file is not None:
        return Token(_read_token(settings.token_file))
    if is_loopback(settings.host) and not settings.allowed_hosts:
        return None
    return Token(secrets.token_urlsafe(24))


def _read_token(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise Mistake(f"dashboard.token_file: {path}: {reason}") from None
    token = lines[0].strip() if lines else ""
    if len(token) < SHORTEST_TOKEN:
        raise Mistake(
            f"dashboard.token_file: the token in {path} is shorter than {SHORTEST_TOKEN} characters"
        )
    return token


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches what listens at `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Guard:
    """Lets those in who may look, and adds the headers that bind the page.

    Args:
        app: the application behind it.
        token: what viewers must show, or None.
        hosts: names that the page may be asked for by, beside loopback's. Without a token, another
            name means that a foreign page has had its own name point here (DNS rebinding).
        prefix: path below which a proxy shows the page; taken off where the proxy leaves it on.
    """

    def __init__(
        self, app: ASGIApp, token: Token | None, hosts: Iterable[str] = (), prefix: str = ""
    ) -> None:
        self._app, self._token, self._prefix = app, token, prefix
        self._hosts = _LOCAL_NAMES | {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        scope, wrong_place = self._without_prefix(scope)
        refusal = wrong_place or self._refusal(scope)
        await (refusal or self._app)(scope, receive, with_headers)

    def _without_prefix(self, scope: Scope) -> tuple[Scope, Response | None]:
        path: str = scope["path"]
        if self._prefix and path == self._prefix:
            return scope, RedirectResponse(f"{self._prefix}/", status_code=308)
        if self._prefix and path.startswith(f"{self._prefix}/"):
            return {**scope, "path": path[len(self._prefix) :], "raw_path": None}, None
        return scope, None

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if self._token is None:
            if _host_name(headers.get("host", "")) not in self._hosts:
                return PlainTextResponse("this name is not one of the dashboard's\n", 421)
            return None
        if scope["path"] == "/healthz":
            return None
        if self._has_cookie(headers) or self._has_header(headers):
            return None
        offered = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["path"] == "/" and offered and self._token.matches(offered):
            return self._welcome(scope, headers)
        return PlainTextResponse(
            "This page needs its token: open the whole link that the dashboard printed when it "
            "was started (it ends in ?token=...), or ask whoever started it.\n",
            401,
        )

    def _welcome(self, scope: Scope, headers: Headers) -> Response:
        """Give the cookie, and take the token out of the address bar.

        The cookie has no path of its own, so that it holds for the folder as the browser sees it,
        whatever a proxy makes of it.
        """
        assert self._token is not None  # noqa: S101 - only called with one
        secure = "https" in (scope.get("scheme"), headers.get("x-forwarded-proto"))
        answer = RedirectResponse("./", status_code=303)
        answer.set_cookie(
            self._token.cookie_name,
            self._token.cookie_value,
            max_age=30 * 86400,
            path=None,
            httponly=True,
            secure=secure,
            samesite="lax",
        )
        return answer

    def _has_cookie(self, headers: Headers) -> bool:
        assert self._token is not None  # noqa: S101
        try:
            cookies = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            return False
        found = cookies.get(self._token.cookie_name)
        return found is not None and self._token.admits(found.value)

    def _has_header(self, headers: Headers) -> bool:
        assert self._token is not None  # noqa: S101
        kind, _, value = headers.get("authorization", "").partition(" ")
        return kind.lower() == "bearer" and self._token.matches(value.strip())


def _host_name(host: str) -> str:
    """Give the name in a Host header, without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
