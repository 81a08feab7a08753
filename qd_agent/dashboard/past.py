"""What one viewer asks for: a run, a frame, a heat map, an export; from Redis or from Tiled."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, HTTPException
from fastapi.responses import Response, StreamingResponse

from qd_agent.dashboard.archive import Archive
from qd_agent.dashboard.exports import csv_lines, file_name, json_lines
from qd_agent.dashboard.headline import headline_of
from qd_agent.dashboard.records import COLUMNS, FrameRow, newest_last
from qd_agent.dashboard.spectra import MOST_COLUMNS, Heat, binned_curves, heat_columns
from qd_agent.dashboard.store import RunInfo
from qd_agent.dashboard.web import Entry, Service, Source, Target, Uid, json_answer


def close_look(service: Service) -> APIRouter:
    """Give the routes below /api that only one viewer's wish is about."""
    router = APIRouter()
    router.include_router(_looks(service))
    router.include_router(_exports(service))
    return router


def _looks(service: Service) -> APIRouter:
    router = APIRouter()
    store, heat = service.store, Heat(service.store)

    @router.get("/archive")
    def archived() -> Response:
        runs = [] if service.archive is None else service.archive.runs()
        return json_answer({"runs": [asdict(run) for run in runs]})

    @router.get("/run")
    def run(uid: Uid, source: Source = "redis", target: Target = None) -> Response:
        info, rows = _run(service, uid, source)
        chosen = target or service.settings.target_nm
        return json_answer(
            {
                "run": asdict(info),
                "columns": COLUMNS,
                "rows": [row.as_list() for row in rows],
                "headline": headline_of(rows, chosen).as_json(),
            }
        )

    @router.get("/frame")
    def frame(uid: Uid, entry: Entry, source: Source = "redis") -> Response:
        if source == "tiled":
            return json_answer(
                _archived_frame(_archive(service), uid, int(entry.partition("-")[0]))
            )
        prediction = store.prediction(uid, entry)
        if prediction is None:
            raise HTTPException(404, "no such frame")
        key = prediction.get("key", {})
        name = f"{key.get('stream')}/{key.get('data_key')}/{key.get('seq_num')}/{key.get('index')}"
        curves = store.curves(uid, name, entry)
        shown = None if curves is None else binned_curves(curves)
        return json_answer({"prediction": prediction, "curves": shown})

    @router.get("/heat")
    def heat_map(uid: Uid, after: Entry = "0-0", source: Source = "redis") -> Response:
        if source == "redis":
            return json_answer(heat.columns(uid, after))
        if after != "0-0":  # a run in the archive is whole
            return json_answer(heat_columns([], [], after))
        archive = _archive(service)
        found = archive.run(uid)
        rows = [] if found is None else found[1]
        curves = archive.curves(uid, 0, len(rows), MOST_COLUMNS)
        drawn = [(row, curves[n]) for n, row in enumerate(rows) if n in curves]
        return json_answer(heat_columns([r for r, _ in drawn], [c for _, c in drawn], "1-0"))

    return router


def _exports(service: Service) -> APIRouter:
    router = APIRouter()

    @router.get("/export.csv")
    def as_csv(uid: Uid, source: Source = "redis") -> StreamingResponse:
        _run_info(service, uid, source)
        return _file(csv_lines(_predictions(service, uid, source)), "text/csv", uid, "csv")

    @router.get("/export.json")
    def as_json(uid: Uid, source: Source = "redis") -> StreamingResponse:
        info = asdict(_run_info(service, uid, source))
        lines = json_lines(info, _predictions(service, uid, source))
        return _file(lines, "application/json", uid, "json")

    return router


def _file(lines: Iterable[str], kind: str, uid: str, ending: str) -> StreamingResponse:
    headers = {"content-disposition": f'attachment; filename="{file_name(uid, ending)}"'}
    return StreamingResponse(lines, media_type=kind, headers=headers)


def _predictions(service: Service, uid: str, source: Source) -> Generator[dict[str, Any]]:
    if source == "tiled":
        yield from _archive(service).predictions(uid)
        return
    last, more = "0-0", True
    while more:
        found, reached = service.store.predictions(uid, last)
        more, last = reached != last, reached
        yield from found


def _run(service: Service, uid: str, source: Source) -> tuple[RunInfo, list[FrameRow]]:
    if source == "redis":
        info = service.store.run(uid)
        if info is not None:
            return info, newest_last(service.store.all_frames(uid)[0])
    elif (found := _archive(service).run(uid)) is not None:
        return found[0], newest_last(found[1])
    raise HTTPException(404, "no such run")


def _run_info(service: Service, uid: str, source: Source) -> RunInfo:
    """Give the run, so that an export of none fails before its first line."""
    if source == "tiled":
        return _run(service, uid, source)[0]
    info = service.store.run(uid)
    if info is None:
        raise HTTPException(404, "no such run")
    return info


def _archive(service: Service) -> Archive:
    if service.archive is None:
        raise HTTPException(404, "this dashboard knows no Tiled")
    return service.archive


def _archived_frame(archive: Archive, uid: str, number: int) -> dict[str, object]:
    predictions: Sequence[dict[str, Any]] = archive.predictions(uid)
    if number >= len(predictions):
        raise HTTPException(404, "no such frame")
    curves = archive.curves(uid, number, number + 1, 1).get(number)
    shown = None if curves is None else binned_curves(curves)
    return {"prediction": predictions[number], "curves": shown}
