"""Doors that a configuration leaves open: each in a sentence, with the remedy in it.

Nothing here is a mistake; a beamline behind its own firewall may want it so.
"""

from __future__ import annotations

import ipaddress
import stat
from collections.abc import Generator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from qd_agent.config import Config
from qd_agent.documents import KafkaSettings, SourceSettings, ZmqSettings
from qd_agent.sinks import redact

TOO_WIDE = frozenset(
    Path(path)
    for path in ("/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/opt", "/proc", "/root",
                 "/run", "/sys", "/tmp", "/usr", "/var", "/var/tmp", "/Users")  # noqa: S108 - not used, warned of
)  # fmt: skip
"""Folders that hold far more than a detector's files."""


def open_doors(config: Config, path: Path | None = None) -> list[str]:
    """Give a warning for each door that stands open.

    Args:
        config: the configuration.
        path: its file, which may itself hold a secret; None where it is not known.
    """
    return [
        *(door for source in config.source for door in _source(source)),
        *_redis(config, path),
        *_tiled(config, path),
        *_metrics(config),
        *_roots(config),
        *_secret_files(config),
    ]


def is_local(host: str | None) -> bool:
    """Tell whether `host` is this machine's loopback; '' and None are no host at all."""
    if not host or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _source(source: SourceSettings) -> Generator[str]:
    if isinstance(source, ZmqSettings):
        yield from _zmq(source)
    elif (
        isinstance(source, KafkaSettings)
        and not source.encrypted
        and not all(is_local(b.rpartition(":")[0]) for b in source.brokers)
    ):
        yield (
            f"source {source.shown}: documents travel unencrypted and whoever is in between can "
            "forge them; use security: ssl or sasl_ssl, with source.tls_ca_file"
        )


def _zmq(source: ZmqSettings) -> Generator[str]:
    host = source.address.removeprefix("tcp://").rpartition(":")[0]
    if not source.address.startswith("tcp://") or is_local(host):
        return
    if source.curve_server_key is None:
        yield (
            f"source.address {source.address}: documents travel unencrypted and whoever is in "
            "between can forge them; give source.curve_server_key and source.curve_secret_key "
            "(`qd-agent keys DIR` makes them)"
        )


def _redis(config: Config, path: Path | None) -> Generator[str]:
    settings = config.redis
    if settings.url is None:
        return
    shown = f"redis.url {redact(settings.url)}"
    host, password, query = _parts(settings.url)
    password = password or query.get("password")
    yield from _password_in_file("redis.url", password, "redis.password_file", path)
    if settings.url.startswith("rediss://"):
        if query.get("ssl_cert_reqs", "required") != "required" or (
            query.get("ssl_check_hostname", "true").lower() not in {"true", "1", "yes"}
        ):
            yield (
                f"{shown}: whose certificate it is is not checked; leave ssl_cert_reqs and "
                "ssl_check_hostname out and give redis.tls_ca_file"
            )
    elif settings.url.startswith("redis://") and not is_local(host):
        yield (
            f"{shown}: predictions and password travel unencrypted; use rediss:// with "
            "redis.tls_ca_file"
        )
    if not (password or settings.password_env or settings.password_file or is_local(host)):
        yield (
            f"{shown}: no password is given, so whoever reaches that Redis can read and change "
            "everything; set one there, and redis.password_file here"
        )


def _tiled(config: Config, path: Path | None) -> Generator[str]:
    settings = config.tiled
    if settings.uri is None:
        return
    shown = f"tiled.uri {redact(settings.uri)}"
    host, _, query = _parts(settings.uri)
    yield from _password_in_file("tiled.uri", query.get("api_key"), "tiled.api_key_file", path)
    if settings.uri.startswith("http://") and not is_local(host):
        yield (
            f"{shown}: predictions and API key travel unencrypted; use https:// with "
            "tiled.tls_ca_file"
        )


def _metrics(config: Config) -> Generator[str]:
    settings = config.metrics
    if settings.port is not None and not is_local(settings.host):
        yield (
            f"metrics.host {settings.host}: whoever reaches port {settings.port} reads "
            "the metrics without a password; let a proxy ask for one, or have them on 127.0.0.1"
        )


def _password_in_file(
    setting: str, secret: str | None, better: str, path: Path | None
) -> Generator[str]:
    if secret and path is not None and _others_may_read(path):
        yield (
            f"{setting} holds a secret in a file that every user of this machine may read; use "
            f"{better}, or chmod 600 {path}"
        )


def _roots(config: Config) -> Generator[str]:
    home = _home()
    for root in config.frames.allowed_roots:
        real = root.resolve()
        homes = (
            real == home or real in home.parents or real.parent in {Path("/home"), Path("/Users")}
        )
        if real in TOO_WIDE or homes:
            yield (
                f"frames.allowed_roots {root}: documents could name any file in it; name the "
                "detectors' own folders"
            )


def _secret_files(config: Config) -> Generator[str]:
    files = {
        "redis.password_file": config.redis.password_file,
        "redis.tls_key_file": config.redis.tls_key_file,
        "tiled.api_key_file": config.tiled.api_key_file,
        "tiled.tls_key_file": config.tiled.tls_key_file,
    }
    for source in config.source:
        if isinstance(source, KafkaSettings):
            files["source.sasl_password_file"] = source.sasl_password_file
            files["source.tls_key_file"] = source.tls_key_file
    for setting, path in files.items():
        if path is not None and _others_may_read(path):
            yield f"{setting} {path} may be read by every user of this machine; chmod 600 {path}"


def _parts(url: str) -> tuple[str | None, str | None, dict[str, str]]:
    """Give host, password and query; nothing of a URL that is malformed, which others report."""
    try:
        parts = urlsplit(url)
        return parts.hostname, parts.password, dict(parse_qsl(parts.query))
    except ValueError:
        return None, None, {}


def _home() -> Path:
    try:
        return Path.home().resolve()
    except RuntimeError:  # a user without one, as in a container
        return Path("/root")


def _others_may_read(path: Path) -> bool:
    try:
        return bool(stat.S_IMODE(path.stat().st_mode) & stat.S_IROTH)
    except OSError:
        return False
