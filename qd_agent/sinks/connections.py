"""Where a store is and how to get in, with the secrets kept out of every message."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from qd_agent.core.errors import Mistake
from qd_agent.sinks.settings import RedisSettings, TiledSettings
from qd_agent.sinks.tls import Tls

_SECRET_QUERY = re.compile(r"(?i)([?&][^=&#]*(?:key|password|token|secret)[^=&#]*=)[^&#]*")


@dataclass(frozen=True, slots=True)
class RedisConnection:
    """A Redis to connect to; repr and `shown` are without secrets.

    Attributes:
        url: redis://, rediss:// or unix://; it may itself hold a password.
        password: for a URL that holds none itself.
        tls: files for a rediss:// URL.
    """

    url: str = field(repr=False)
    password: str | None = field(default=None, repr=False)
    tls: Tls | None = field(default=None, repr=False)
    shown: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shown", redact(self.url))

    def clean(self, text: str) -> str:
        """Give the first line of `text` without any secret."""
        return _clean(text, self.url, self.password)


@dataclass(frozen=True, slots=True)
class TiledConnection:
    """A Tiled to connect to; repr and `shown` are without secrets.

    Attributes:
        uri: the API's root, http://host:port/api/v1.
        api_key: None for a server that lets everybody write.
        tls: files for an https:// URI.
    """

    uri: str = field(repr=False)
    api_key: str | None = field(default=None, repr=False)
    tls: Tls | None = field(default=None, repr=False)
    shown: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shown", redact(self.uri))

    def clean(self, text: str) -> str:
        """Give the first line of `text` without any secret."""
        return _clean(text, self.uri, self.api_key)


def redact(url: str) -> str:
    """Give a URL fit to be printed: without password, API key or control characters.

    Everything between '//' and the last '@' counts as user and password, so that a password with
    unescaped '@' or '/' is not half shown.
    """
    head, marks, rest = url.partition("//")
    user_and_password, at, place = rest.rpartition("@")
    if at:
        user = user_and_password.partition(":")[0]
        hidden = ":***" if ":" in user_and_password else ""
        rest = f"{user}{hidden}@{place}"
    shown = _SECRET_QUERY.sub(r"\1***", head + marks + rest)
    return "".join(c if c.isprintable() else "?" for c in shown)


def resolve_redis(settings: RedisSettings) -> RedisConnection | None:
    """Give the configured Redis, or None when the agent is to start its own.

    Raises:
        Mistake: the variable or file that should hold the password is absent or empty, or a
            TLS file cannot be used.
    """
    if settings.url is None:
        return None
    password = None
    if settings.password_file is not None:
        password = _first_line("redis.password_file", settings.password_file)
    elif settings.password_env is not None:
        password = os.environ.get(settings.password_env)
        if not password:
            raise Mistake(
                f"redis.password_env: the environment variable {settings.password_env} is not set"
            )
    tls = _tls("redis", settings, encrypted=settings.url.startswith("rediss://"))
    return RedisConnection(settings.url, password, tls)


def resolve_tiled(settings: TiledSettings) -> TiledConnection | None:
    """Give the configured Tiled, or None when the agent is to start its own.

    The key comes from the file, else from `?api_key=` in the URI, else from the environment.

    Raises:
        Mistake: the URI is malformed, the file that should hold the key is absent or empty, or
            a TLS file cannot be used.
    """
    if settings.uri is None:
        return None
    try:
        parts = urlsplit(settings.uri)
    except ValueError as exc:
        raise Mistake(f"tiled.uri {redact(settings.uri)}: {exc}") from None
    query = parse_qsl(parts.query)
    path = parts.path.rstrip("/") or "/api/v1"
    rest = urlencode([(name, value) for name, value in query if name != "api_key"])
    uri = urlunsplit(parts._replace(path=path, query=rest))
    if settings.api_key_file is not None:
        key = _first_line("tiled.api_key_file", settings.api_key_file)
    else:
        key = dict(query).get("api_key") or os.environ.get(settings.api_key_env) or None
    tls = _tls("tiled", settings, encrypted=settings.uri.startswith("https://"))
    return TiledConnection(uri, key, tls)


def safe_key(uid: str) -> str:
    """Give the part of a key or path that stands for `uid`: itself where it is harmless.

    Uids come from outside. ':' would reach other keys in Redis, '/' and '..' other paths in Tiled;
    such characters are written as '=' and two hexadecimal digits a byte, so no two uids share a
    key. What becomes longer than a file name may be ends in the uid's hash.
    """
    text = re.sub(
        r"[^A-Za-z0-9._-]|^\.+",
        lambda found: "".join(f"={byte:02X}" for byte in _utf8(found.group())),
        uid,
    )
    if len(text) <= 140:  # Tiled writes each "=" as three characters in file names
        return text
    return f"{text[:80]}=={hashlib.sha256(_utf8(uid)).hexdigest()}"


def _tls(store: str, settings: RedisSettings | TiledSettings, *, encrypted: bool) -> Tls | None:
    """Give the files for TLS, or None where none is configured; all of them can be used."""
    tls = Tls(settings.tls_ca_file, settings.tls_certificate_file, settings.tls_key_file)
    if tls == Tls():
        return None
    if not encrypted:
        scheme = "redis.url is not rediss://" if store == "redis" else "tiled.uri is not https://"
        raise Mistake(f"{store}.tls_...: files for TLS are given, but {scheme}")
    if tls.key_file is not None and tls.certificate_file is None:
        raise Mistake(f"{store}.tls_key_file: give {store}.tls_certificate_file with it")
    tls.context(store)
    return tls


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _first_line(setting: str, path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        reason = getattr(exc, "strerror", None) or "it is not text"
        raise Mistake(f"{setting}: {path} cannot be read: {reason}") from exc
    if not lines or not lines[0].strip():
        raise Mistake(f"{setting}: the first line of {path} is empty")
    return lines[0].strip()


def _clean(text: str, url: str, secret: str | None) -> str:
    line = next((x.strip() for x in text.splitlines() if x.strip()), "no reason given")
    line = line.replace(url, redact(url))
    password = url.partition("//")[2].rpartition("@")[0].partition(":")[2]
    for hidden in filter(None, (secret, password, unquote(password))):
        for form in _forms(hidden):
            line = line.replace(form, "***")
    return _SECRET_QUERY.sub(r"\1***", line)[:500]


def _forms(secret: str) -> list[str]:
    """Give the ways in which an error may quote a secret, the longest first."""
    forms = {secret, quote(secret, safe=""), repr(secret)[1:-1], json.dumps(secret)[1:-1]}
    if len(secret) > 8:  # Tiled's client quotes the first eight characters of a key
        forms.add(secret[:8])
    return sorted(forms, key=len, reverse=True)
