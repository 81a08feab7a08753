"""The web application: the page, its events, and what a close look asks for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, FastAPI, Header, HTTPException, Query
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from fastapi.staticfiles import StaticFiles
from redis.exceptions import RedisError
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request

from qd_agent.core.errors import Fatal
from qd_agent.dashboard.feed import Feed
from qd_agent.dashboard.headline import headline_of
from qd_agent.dashboard.records import COLUMNS, newest_last
from qd_agent.dashboard.security import Guard, Token
from qd_agent.dashboard.settings import DashboardSettings
from qd_agent.dashboard.spectra import Heat, binned_curves
from qd_agent.dashboard.store import RunStore
from qd_agent.dashboard.stream import events, snapshot_json

STATIC = Path(__file__).with_name("static")

Target = Annotated[float | None, Query(gt=0, le=100, allow_inf_nan=False)]
Uid = Annotated[str, Query(min_length=1, max_length=512)]
Entry = Annotated[str, Query(pattern=r"^\d{1,20}-\d{1,20}$")]


@dataclass(frozen=True, slots=True)
class Service:
    """What the routes work with.

    Attributes:
        feed: the live state.
        store: Redis, for what only one viewer wants.
        settings: of the dashboard.
        closing: set when the service ends.
    """

    feed: Feed
    store: RunStore
    settings: DashboardSettings
    closing: asyncio.Event


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
    app.include_router(_close_look(service), prefix="/api")
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_exception_handler(RedisError, _redis_is_away)
    app.add_exception_handler(OSError, _redis_is_away)
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
        return _json(snapshot_json(feed, feed.snapshot(), chosen))

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


def _close_look(service: Service) -> APIRouter:
    router = APIRouter()
    store, heat = service.store, Heat(service.store)

    @router.get("/run")
    def run(uid: Uid, target: Target = None) -> Response:
        info = store.run(uid)
        if info is None:
            raise HTTPException(404, "no such run")
        rows = newest_last(store.all_frames(uid)[0])
        chosen = target or service.settings.target_nm
        return _json(
            {
                "run": asdict(info),
                "columns": COLUMNS,
                "rows": [row.as_list() for row in rows],
                "headline": headline_of(rows, chosen).as_json(),
            }
        )

    @router.get("/frame")
    def frame(uid: Uid, entry: Entry) -> Response:
        prediction = store.prediction(uid, entry)
        if prediction is None:
            raise HTTPException(404, "no such frame")
        key = prediction.get("key", {})
        name = f"{key.get('stream')}/{key.get('data_key')}/{key.get('seq_num')}/{key.get('index')}"
        curves = store.curves(uid, name, entry)
        shown = None if curves is None else binned_curves(curves)
        return _json({"prediction": prediction, "curves": shown})

    @router.get("/heat")
    def heat_map(uid: Uid, after: Entry = "0-0") -> Response:
        return _json(heat.columns(uid, after))

    return router


def _json(data: Mapping[str, object]) -> Response:
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return Response(text, media_type="application/json", headers={"cache-control": "no-store"})


async def _redis_is_away(_: Request, __: Exception) -> JSONResponse:
    return JSONResponse({"detail": "Redis is away"}, 503)
