"""The dashboard as a process: socket, web server, and the thread that follows Redis."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from urllib.parse import quote

from qd_agent.core.errors import Fatal
from qd_agent.dashboard.archive import Archive
from qd_agent.dashboard.feed import Feed
from qd_agent.dashboard.follower import Follower
from qd_agent.dashboard.security import Token, choose_token
from qd_agent.dashboard.settings import DashboardSettings
from qd_agent.dashboard.store import RunStore
from qd_agent.sinks import RedisConnection
from qd_agent.sinks.redis_link import connect

try:
    import uvicorn
    from fastapi import FastAPI

    from qd_agent.dashboard.app import create_app
    from qd_agent.dashboard.web import Service
except ModuleNotFoundError as error:
    raise Fatal(f"the page needs {error.name}: pip install 'qd-agent[dashboard]'") from error


def serve(
    settings: DashboardSettings,
    find_redis: Callable[[], RedisConnection],
    prefix: str,
    ready: Callable[[str], None],
    archive: Archive | None = None,
) -> None:
    """Serve until a signal; see `serve_dashboard`."""
    token = choose_token(settings)
    listening = _listen(settings)
    feed = Feed()
    store = RunStore(lambda: connect(find_redis(), timeout_s=5.0), prefix, settings.thermometer)
    follower = Follower(store, feed)
    closing = asyncio.Event()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        follower.start()
        ready(_address(settings, listening, token))
        yield

    app = create_app(Service(feed, store, archive, settings, closing), token, lifespan)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=8,
    )
    server = _Server(config, closing)
    try:
        server.run(sockets=[listening])
    finally:
        if follower.is_alive():
            follower.stop()
        store.close()
        listening.close()


class _Server(uvicorn.Server):
    """A server that tells its open event streams to end, so that nobody waits for them."""

    def __init__(self, config: uvicorn.Config, closing: asyncio.Event) -> None:
        super().__init__(config)
        self._closing = closing

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, then everything else."""
        self._closing.set()
        await super().shutdown(sockets)


def _listen(settings: DashboardSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        place = f"{settings.host}:{settings.port}"
        raise Fatal(
            f"the dashboard cannot listen at {place}: {error.strerror}; choose another --port"
        ) from None
    return listening


def _address(settings: DashboardSettings, listening: socket.socket, token: Token | None) -> str:
    port = listening.getsockname()[1]
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    query = "" if token is None else f"?token={quote(token.value, safe='')}"
    return f"http://{host}:{port}{settings.prefix}/{query}"
