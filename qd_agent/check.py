"""`qd-agent check`: every mistake in a configuration, and proof that all it names can be opened."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from qd_agent.config import Config, load_config
from qd_agent.core.errors import QdError
from qd_agent.documents import SourceSettings
from qd_agent.embedded import find_server, start_redis, start_tiled
from qd_agent.exposure import is_local, open_doors
from qd_agent.reduction import StripSettings
from qd_agent.sinks import RedisConnection, TiledConnection, resolve_redis, resolve_tiled


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried, and what came of it, in a line.

    Attributes:
        name: what was tried.
        passed: whether the agent can work with it.
        text: what was found.
        warning: whether it works, and leaves a door open or may lose something.
    """

    name: str
    passed: bool
    text: str
    warning: bool = False

    @property
    def grade(self) -> str:
        """'ok', 'warn' or 'FAIL'."""
        return "FAIL" if not self.passed else "warn" if self.warning else "ok"


def check_config(path: Path, read_back: str | None = None) -> list[Finding]:
    """Read a configuration and open everything that it names.

    Args:
        path: the configuration.
        read_back: uid of a run of which one frame is read through Tiled, or None.

    Raises:
        Mistake: the configuration itself is wrong; one line for each mistake.
    """
    config = load_config(path)
    findings = [
        _try("geometry", lambda: _geometry(config)),
        _try("frames", lambda: _roots(config)),
        *(_try("source", partial(_source, source)) for source in config.source),
        _try("model", lambda: _model(config)),
        _try("redis", lambda: _redis(config)),
        _try("tiled", lambda: _tiled(config, read_back)),
    ]
    doors = [*open_doors(config, path), *_tried_doors(config)]
    warnings = [
        *(Finding("open door", passed=True, text=text, warning=True) for text in doors),
        *(Finding("memory", passed=True, text=text, warning=True) for text in _forgetful(config)),
    ]
    return [Finding("config", passed=True, text=f"{path} is valid"), *findings, *warnings]


def _forgetful(config: Config) -> Generator[str]:
    """Give a sentence where the configured Redis may lose what it holds; ours never does."""
    from qd_agent.sinks.checks import forgetful_redis  # noqa: PLC0415 - the Redis client

    try:
        redis = resolve_redis(config.redis)
        found = None if redis is None else forgetful_redis(redis)
    except QdError:
        return  # it has failed above already, with its reason
    if found is not None:
        yield found


def _tried_doors(config: Config) -> Generator[str]:
    """Come to the configured stores as a stranger would; give a sentence for each that opens."""
    from qd_agent.sinks.checks import open_redis, open_tiled  # noqa: PLC0415 - clients

    try:
        redis, tiled = resolve_redis(config.redis), resolve_tiled(config.tiled)
        found = None if redis is None else open_redis(redis)
        if found is not None:
            yield found
        if tiled is not None and not is_local(urlsplit(tiled.uri).hostname) and open_tiled(tiled):
            yield (
                f"Tiled at {tiled.shown} shows its data to whoever has no key; start it without "
                "--public"
            )
    except QdError:
        return  # it has failed above already, with its reason


def _try(name: str, prove: Callable[[], str]) -> Finding:
    try:
        return Finding(name, passed=True, text=prove())
    except QdError as error:
        return Finding(name, passed=False, text=" ".join(str(error).split()))


def _geometry(config: Config) -> str:
    from qd_agent.reduction import open_reducers  # noqa: PLC0415 - pyFAI

    reducers = open_reducers(config.reduction, config.detectors).all
    found: list[str] = []
    for name, settings in {**config.detectors, "": config.reduction}.items():
        if settings is not None:
            file = settings.axis if isinstance(settings, StripSettings) else settings.poni
            mask = settings.mask.name if settings.mask is not None else "no mask"
            whose = f"{name}: " if name else ""
            found.append(f"{whose}{file.name} (sha256 {reducers[name].poni_sha256[:12]}), {mask}")
    return "; ".join(found)


def _roots(config: Config) -> str:
    missing = [str(root) for root in config.frames.allowed_roots if not root.is_dir()]
    if missing:
        raise QdError(f"frames.allowed_roots: no such folder: {', '.join(missing)}")
    if not config.frames.allowed_roots:
        raise QdError("frames.allowed_roots is empty: no file may be read; name the data folders")
    return f"files under {', '.join(str(root) for root in config.frames.allowed_roots)}"


def _source(settings: SourceSettings) -> str:
    from qd_agent.documents import TiledStreamSettings, open_source  # noqa: PLC0415 - zmq

    if isinstance(settings, TiledStreamSettings):
        return f"{settings.shown} (see tiled below)"
    open_source(settings).close()
    return f"{settings.kind} at {settings.shown} (whether anyone publishes is not known)"


def _model(config: Config) -> str:
    from qd_agent.inference import open_sizer  # noqa: PLC0415 - torch

    sizer = open_sizer(config.sizer)
    return f"{sizer.model_name} {sizer.model_version} (sha256 {sizer.model_sha256[:12]})"


def _redis(config: Config) -> str:
    from qd_agent.sinks.checks import check_redis  # noqa: PLC0415 - the Redis client

    with _redis_connection(config) as connection:
        return check_redis(config.redis, connection)


def _tiled(config: Config, read_back: str | None) -> str:
    from qd_agent.sinks.checks import check_tiled  # noqa: PLC0415 - the Tiled client

    path = None
    if read_back is not None:
        path = [*(config.tiled.raw_container or "").split("/"), read_back]
        path = [part for part in path if part]
    with _tiled_connection(config) as connection:
        return check_tiled(config.tiled, connection, path)


@contextmanager
def _redis_connection(config: Config) -> Generator[RedisConnection]:
    """Give the configured Redis, the one a running agent has started, or one for the moment."""
    configured, folder = resolve_redis(config.redis), config.data / "redis"
    running = find_server(folder)
    if configured is not None:
        yield configured
    elif running is not None:
        yield RedisConnection(running.url, running.secret)
    else:
        with TemporaryDirectory(prefix="qd-check-") as trial:
            server = start_redis(Path(trial))
            try:
                yield RedisConnection(server.url, server.secret)
            finally:
                server.stop()


@contextmanager
def _tiled_connection(config: Config) -> Generator[TiledConnection]:
    """Give the configured Tiled, the one a running agent has started, or one for the moment."""
    configured, folder = resolve_tiled(config.tiled), config.data / "tiled"
    running = find_server(folder)
    if configured is not None:
        yield configured
    elif running is not None:
        yield TiledConnection(running.url, running.secret)
    else:
        with TemporaryDirectory(prefix="qd-check-") as trial:
            server = start_tiled(Path(trial), config.frames.allowed_roots)
            try:
                yield TiledConnection(server.url, server.secret)
            finally:
                server.stop()
