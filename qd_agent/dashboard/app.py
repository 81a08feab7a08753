"""The web application: the page, its events, and what a close look asks for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from importlib.resources import files
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, FastAPI, Header
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from fastapi.staticfiles import StaticFiles
from redis.exceptions import RedisError
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request

from qd_agent.core.errors import Fatal, QdError
from qd_agent.dashboard.past import close_look
from qd_agent.dashboard.security import Guard, Token
from qd_agent.dashboard.stream import events, snapshot_json
from qd_agent.dashboard.web import Service, Target, json_answer

STATIC = Path(__file__).with_name("static")

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create_app(service: Service, token: Token | None, lifespan: Lifespan | None = None) -> FastAPI:
    """Give the application behind its guard.

    Raises:
        Fatal: the plotting library is not installed.
    """
    app = FastAPI(
        title="qd-agent dashboard",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=lifespan,
    )
    app.include_router(_page(plotly_script()))
    app.include_router(_live(service))
    app.include_router(close_look(service), prefix="/api")
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_exception_handler(RedisError, _redis_is_away)
    app.add_exception_handler(OSError, _redis_is_away)
    app.add_exception_handler(QdError, _tiled_is_away)
    app.add_middleware(GZipMiddleware, minimum_size=2000, compresslevel=5)
    app.add_middleware(
        Guard,
        token=token,
        hosts=service.settings.allowed_hosts,
        prefix=service.settings.prefix,
    )
    return app


def plotly_script() -> Path:
    """Give the plotting library's script, which comes in the Python package plotly.

    Raises:
        Fatal: it is not installed.
    """
    try:
        path = Path(str(files("plotly").joinpath("package_data", "plotly.min.js")))
    except ModuleNotFoundError:
        path = None
    if path is None or not path.is_file():
        raise Fatal("the page needs plotly: pip install 'qd-agent[dashboard]'")
    return path


def _page(plotly: Path) -> APIRouter:
    router = APIRouter()

    @router.get("/")
    def page() -> FileResponse:
        return FileResponse(STATIC / "index.html", headers={"cache-control": "no-cache"})

    @router.get("/vendor/plotly.min.js")
    def script() -> FileResponse:
        return FileResponse(plotly, media_type="text/javascript")

    return router


def _live(service: Service) -> APIRouter:
    router = APIRouter()
    feed = service.feed

    @router.get("/healthz")
    def healthz() -> JSONResponse:
        health = feed.snapshot().data.get("redis")
        up = isinstance(health, dict) and bool(health.get("up"))
        return JSONResponse({"live": True, "ready": up}, 200 if up else 503)

    @router.get("/api/snapshot")
    def snapshot(target: Target = None) -> Response:
        chosen = target or service.settings.target_nm
        return json_answer(snapshot_json(feed, feed.snapshot(), chosen))

    @router.get("/api/events")
    async def stream(
        target: Target = None,
        last: str = "",
        last_event_id: Annotated[str, Header()] = "",
    ) -> StreamingResponse:
        chosen = target or service.settings.target_nm
        body = events(feed, last_event_id or last, chosen, service.closing)
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(body, media_type="text/event-stream", headers=headers)

    return router


async def _redis_is_away(_: Request, __: Exception) -> JSONResponse:
    return JSONResponse({"detail": "Redis is away"}, 503)


async def _tiled_is_away(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)[:300]}, 503)
