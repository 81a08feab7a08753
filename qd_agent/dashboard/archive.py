"""The dashboard's door to Tiled: runs that Redis does not hold any more, read and never written."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from qd_agent.core.pattern import PUBLISHED_GRID
from qd_agent.core.prediction import Prediction
from qd_agent.dashboard.records import FIRST_NAMED, FrameRow, Thermometer, row_of
from qd_agent.dashboard.store import Curves, RunInfo, sample_of
from qd_agent.sinks import TiledConnection

MOST_LISTED = 200
_TEXTS = ("stream", "data_key", "verdict", "reason")
_NUMBERS = (
    "diameter_nm",
    "diameter_sd_nm",
    "diameter_volume_nm",
    "dispersion",
    "nanocrystal_fraction",
    "class_nm",
    "misfit",
)


class Archive:
    """Reads the container of runs that the agent keeps in Tiled.

    Every method raises core.errors.Unavailable while Tiled is away, and Fatal when it refuses us.

    Args:
        find: tells where Tiled is.
        container: path of the container of runs.
        thermometer: tells the temperature of a frame.
    """

    def __init__(
        self,
        find: Callable[[], TiledConnection],
        container: str = "qd_agent",
        thermometer: Thermometer = FIRST_NAMED,
    ) -> None:
        self._find, self._container, self._thermometer = find, container, thermometer

    def runs(self) -> list[RunInfo]:
        """Give the runs that came to Tiled last, newest first."""
        query = {"sort": "-", "fields": "metadata", "page[limit]": str(MOST_LISTED)}
        with self._root() as root:
            node = _walk(root, self._container.split("/"))
            if node is None:
                return []
            answer = node.context.http_client.get(
                node.item["links"]["search"], params=query, headers={"Accept": "application/json"}
            )
            answer.raise_for_status()
            found = answer.json()["data"]
        infos = [_info(_mapping(run["attributes"].get("metadata")), run["id"]) for run in found]
        return sorted(infos, key=lambda info: info.start_time or 0.0, reverse=True)

    def run(self, uid: str) -> tuple[RunInfo, list[FrameRow]] | None:
        """Give a run and its frames, or None."""
        with self._run(uid) as node:
            if node is None:
                return None
            info = _info(dict(node.metadata), uid)
            predictions = _predictions(node, uid, info)
        rows = [
            row_of(p, f"{i}-0", p.publication_time, self._thermometer)
            for i, p in enumerate(predictions)
        ]
        return info, [row for row in rows if row is not None]

    def predictions(self, uid: str) -> list[dict[str, Any]]:
        """Give a run's whole predictions, in row order."""
        with self._run(uid) as node:
            if node is None:
                return []
            info = _info(dict(node.metadata), uid)
            return [p.model_dump(mode="json") for p in _predictions(node, uid, info)]

    def curves(self, uid: str, first: int, last: int, most: int) -> dict[int, Curves]:
        """Give the patterns of the rows from `first` to before `last`, evenly thinned to `most`."""
        with self._run(uid) as node:
            array = None if node is None or "patterns" not in node else node["patterns"]
            if array is None:
                return {}
            last = min(last, int(array.shape[0]))
            if first >= last:
                return {}
            step = -(-(last - first) // most)
            values = np.asarray(array[first:last:step], dtype=np.float32)
        return {
            row: _curves(intensity)
            for row, intensity in zip(range(first, last, step), values, strict=True)
            if np.isfinite(intensity).all()
        }

    @contextmanager
    def _root(self) -> Generator[Any]:
        from qd_agent.sinks.tiled_link import open_tiled, translated  # noqa: PLC0415 - seconds

        connection = self._find()
        with translated(connection), open_tiled(connection) as root:
            yield root

    @contextmanager
    def _run(self, uid: str) -> Generator[Any]:
        from qd_agent.sinks.tiled_run import find_node  # noqa: PLC0415 - seconds

        with self._root() as root:
            yield find_node(root, self._container, uid)


def _walk(root: Any, path: list[str]) -> Any | None:
    node = root
    for part in path:
        if part not in node:
            return None
        node = node[part]
    return node


def _info(metadata: Mapping[str, Any], uid: str) -> RunInfo:
    start, provenance = _mapping(metadata.get("start")), _mapping(metadata.get("provenance"))
    stop, account = _mapping(metadata.get("stop")), _mapping(metadata.get("account"))
    counts = {name: int(account.get(name, 0)) for name in ("sized", "abstained", "set_aside")}
    expected = account.get("expected")
    return RunInfo(
        uid=str(_mapping(metadata.get("raw_run")).get("uid") or uid),
        state=str(metadata.get("state", "open")),
        start_time=_time(metadata.get("time")),
        stop_time=_time(stop.get("time")),
        sample=sample_of(start),
        plan=str(start.get("plan_name", ""))[:200],
        scan_id=str(start.get("scan_id", ""))[:40],
        exit_status=str(stop.get("exit_status", "")),
        counts={"predictions": sum(counts.values()), "sized": counts["sized"]},
        expected=expected if isinstance(expected, int) else None,
        provenance={str(k): str(v) for k, v in provenance.items()},
        source="tiled",
    )


def _time(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _predictions(node: Any, uid: str, info: RunInfo) -> list[Prediction]:
    from qd_agent.sinks.tiled_table import read_table  # noqa: PLC0415 - pyarrow

    if "predictions" not in node:
        return []
    rows: list[dict[str, Any]] = read_table(node["predictions"]).to_dict(orient="records")
    return [_prediction(row, uid, info) for row in sorted(rows, key=lambda row: int(row["row"]))]


def _prediction(row: Mapping[str, Any], uid: str, info: RunInfo) -> Prediction:
    fields = {name: row.get(name) for name in (*_TEXTS, *_NUMBERS)}
    key = {"run_uid": uid, "stream": row["stream"], "data_key": row["data_key"]}
    made_by = {
        "model_name": info.provenance.get("model_name", ""),
        "model_sha256": row.get("model_sha256") or "",
        "model_version": row.get("model_version") or "",
        "config_hash": info.provenance.get("config_hash", ""),
        "package_version": info.provenance.get("package_version", ""),
        "dark_hash": row.get("dark_hash") or "",
        "background_hash": row.get("background_hash") or "",
    }
    latency = {stage: row.get(f"latency_{stage}_ms") for stage in ("read", "reduce", "size")}
    return Prediction.model_validate(
        {
            **{name: _real(value) for name, value in fields.items()},
            "reason": row.get("reason") or "",
            "key": {**key, "seq_num": int(row["seq_num"]), "index": int(row["index"])},
            "interval_nm": _pair(row, "interval"),
            "interval_volume_nm": _pair(row, "interval_volume"),
            "class_probabilities": json.loads(row.get("class_probabilities") or "[]"),
            "readings": json.loads(row.get("readings") or "{}"),
            "quality": json.loads(row.get("quality") or "{}"),
            "flags": [flag for flag in str(row.get("flags") or "").split(",") if flag],
            "frame_time": float(row["frame_time"]),
            "publication_time": float(row["publication_time"]),
            "provenance": made_by,
            "latency_ms": {k: v for k, v in latency.items() if _real(v) is not None},
        }
    )


def _pair(row: Mapping[str, Any], name: str) -> tuple[float, float] | None:
    low, high = _real(row.get(f"{name}_low_nm")), _real(row.get(f"{name}_high_nm"))
    return None if low is None or high is None else (float(low), float(high))


def _real(value: Any) -> Any:
    """Give None for what pandas makes of a missing number."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _curves(intensity: npt.NDArray[np.float32]) -> Curves:
    q = PUBLISHED_GRID.q_min + PUBLISHED_GRID.step * np.arange(intensity.size, dtype=np.float64)
    return Curves(q, intensity, np.zeros(0, np.float32))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
