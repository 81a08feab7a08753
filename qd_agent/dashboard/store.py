"""The dashboard's door to Redis: runs, frames, patterns and heartbeats, read and never written."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from qd_agent.dashboard.records import FIRST_NAMED, FrameRow, Thermometer, row_from_json
from qd_agent.sinks.redis_keys import Keys

_AT_ONCE = 1000
_AT_A_TIME, _LOOKED_INTO = 3, 4
"""Patterns (40 kB each) that are looked into for one frame: 12 from its time on."""
_COUNTS = (
    "predictions",
    "sized",
    "no_nanocrystals",
    "out_of_domain",
    "insufficient_q",
    "bad_frame",
)


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What is known of a run.

    Attributes:
        uid: the run.
        state: 'open' or 'closed'.
        start_time, stop_time: UTC epoch s; None where it is not known.
        sample, plan, scan_id: of its start document, as text.
        exit_status: 'success', 'abort', 'fail', or ''.
        counts: predictions, in all and by verdict.
        expected: frames that its stop document counts, or None.
        provenance: model, configuration and calibration, as text.
        source: 'redis' or 'tiled'.
    """

    uid: str
    state: str = "open"
    start_time: float | None = None
    stop_time: float | None = None
    sample: str = ""
    plan: str = ""
    scan_id: str = ""
    exit_status: str = ""
    counts: Mapping[str, int] = field(default_factory=dict[str, int])
    expected: int | None = None
    provenance: Mapping[str, str] = field(default_factory=dict[str, str])
    source: str = "redis"


@dataclass(frozen=True, slots=True)
class Curves:
    """A frame's pattern; shapes (n,), `model` empty where there is no explanation."""

    q: npt.NDArray[np.float64]
    intensity: npt.NDArray[np.float32]
    model: npt.NDArray[np.float32]


class RunStore:
    """Reads what the agent publishes. Threads may share it.

    Every method raises redis.RedisError or OSError while Redis is away.

    Args:
        connect: makes a redis.Redis that gives bytes; raises QdError while nobody knows where.
        prefix: first part of every key.
        thermometer: tells the temperature of a frame.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        prefix: str = "qd",
        thermometer: Thermometer = FIRST_NAMED,
    ) -> None:
        self._connect, self._client = connect, connect()
        self._keys, self._thermometer = Keys(prefix), thermometer

    def renew(self) -> None:
        """Look anew where Redis is: one that the agent starts itself has another port each time.

        Raises:
            QdError: nobody knows where it is; what was known stays.
        """
        before, self._client = self._client, self._connect()
        before.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def current_run(self) -> str | None:
        """Give the run of the newest frame, or one that has started since; None without any."""
        newest = self._client.zrevrange(self._keys.runs, 0, 0, withscores=True)
        uid, time = self._client.hmget(self._keys.latest, "run_uid", "frame_time")
        if newest and (uid is None or float(newest[0][1]) > (_number(time) or 0.0)):
            return _text(newest[0][0])
        return None if uid is None else _text(uid)

    def run(self, uid: str) -> RunInfo | None:
        """Give what is known of a run, or None."""
        return _run_info(uid, self._client.hgetall(self._keys.run(uid)))

    def runs(self, limit: int) -> list[RunInfo]:
        """Give the newest runs, newest first."""
        uids = [_text(uid) for uid in self._client.zrevrange(self._keys.runs, 0, limit - 1)]
        with self._client.pipeline(transaction=False) as pipe:
            for uid in uids:
                pipe.hgetall(self._keys.run(uid))
            found = pipe.execute()
        infos = [_run_info(uid, fields) for uid, fields in zip(uids, found, strict=True)]
        return [info for info in infos if info is not None]

    def frames(self, uid: str, after: str = "0-0") -> tuple[list[FrameRow], str]:
        """Give a run's frames stored after `after`, at most 1000, and where to go on."""
        found = self._client.xrange(self._keys.run_predictions(uid), f"({after}", count=_AT_ONCE)
        rows = [self._row(entry, fields) for entry, fields in found]
        last = _text(found[-1][0]) if found else after
        return [row for row in rows if row is not None], last

    def all_frames(self, uid: str) -> tuple[list[FrameRow], str]:
        """Give every frame of a run, one row a frame, in the order in which they were stored."""
        rows: dict[str, FrameRow] = {}
        last, more = "0-0", True
        while more:
            found, reached = self.frames(uid, last)
            more, last = reached != last, reached
            rows.update((row.key, row) for row in found)
        return list(rows.values()), last

    def wait(self, uid: str, after: str, patience_ms: int) -> bool:
        """Wait until something was stored in a run after `after`; False when nothing was."""
        stream = self._keys.run_predictions(uid)
        return bool(self._client.xread({stream: after}, count=1, block=patience_ms))

    def prediction(self, uid: str, entry: str) -> dict[str, Any] | None:
        """Give the whole prediction of an entry, or None."""
        found = self._client.xrange(self._keys.run_predictions(uid), entry, entry, count=1)
        if not found:
            return None
        try:
            read: object = json.loads(found[0][1].get(b"prediction", b""))
        except ValueError:
            return None
        return read if isinstance(read, dict) else None

    def predictions(self, uid: str, after: str) -> tuple[list[dict[str, Any]], str]:
        """Give whole predictions stored after `after`, at most 1000, and where to go on."""
        found = self._client.xrange(self._keys.run_predictions(uid), f"({after}", count=_AT_ONCE)
        last = _text(found[-1][0]) if found else after
        return [json.loads(fields[b"prediction"]) for _, fields in found], last

    def curves(self, uid: str, row_key: str, entry: str) -> Curves | None:
        """Give a frame's pattern, or None where Redis does not hold it (any more).

        The pattern was stored in one transaction with the prediction and right after it, so it is
        among the next ones (Redis before 7 lets the clock go on within a transaction).
        """
        stream, wanted = self._keys.run_patterns(uid), f"{uid}/{row_key}"
        begin = entry.partition("-")[0]
        for _ in range(_LOOKED_INTO):
            found = self._client.xrange(stream, begin, count=_AT_A_TIME)
            for _, fields in found:
                if _text(fields.get(b"frame", b"")) == wanted:
                    return _curves(fields)
            if len(found) < _AT_A_TIME:
                return None
            begin = f"({_text(found[-1][0])}"
        return None

    def agents(self) -> list[dict[str, str]]:
        """Give the heartbeat of every agent that is alive, by name."""
        keys = sorted(self._client.scan_iter(match=self._keys.agent("*"), count=1000))
        found = [self._client.hgetall(key) for key in keys]
        return [{_text(k): _text(v) for k, v in fields.items()} for fields in found if fields]

    def _row(self, entry: bytes, fields: Mapping[bytes, bytes]) -> FrameRow | None:
        return row_from_json(_text(entry), fields.get(b"prediction", b""), self._thermometer)


def _run_info(uid: str, fields: Mapping[bytes, bytes]) -> RunInfo | None:
    if not fields:
        return None
    known = {_text(name): value for name, value in fields.items()}
    metadata, account = _object(known.get("metadata")), _object(known.get("account"))
    provenance = _object(known.get("provenance"))
    expected = account.get("expected")
    return RunInfo(
        uid=uid,
        state=_text(known.get("state", b"open")),
        start_time=_number(known.get("start_time")),
        stop_time=_number(known.get("stop_time")),
        sample=sample_of(metadata),
        plan=str(metadata.get("plan_name", ""))[:200],
        scan_id=str(metadata.get("scan_id", ""))[:40],
        exit_status=_text(known.get("exit_status", b"")),
        counts={name: int(_number(known.get(name)) or 0) for name in _COUNTS},
        expected=expected if isinstance(expected, int) else None,
        provenance={str(k): str(v) for k, v in provenance.items()},
    )


def sample_of(metadata: Mapping[str, Any]) -> str:
    """Give the sample's name out of a start document, or ''."""
    for name in ("sample_name", "sample"):
        value = metadata.get(name)
        if isinstance(value, Mapping):
            value = value.get("name")
        if isinstance(value, (str, int, float)) and str(value):
            return str(value)[:500]
    return ""


def _curves(fields: Mapping[bytes, bytes]) -> Curves | None:
    try:
        intensity = np.frombuffer(fields[b"intensity"], dtype="<f4")
        model = np.frombuffer(fields.get(b"model", b""), dtype="<f4")
        q_min, step = float(fields[b"q_min"]), float(fields[b"q_step"])
    except (KeyError, ValueError):
        return None
    if model.size not in (0, intensity.size):
        return None
    q = q_min + step * np.arange(intensity.size, dtype=np.float64)
    return Curves(q, intensity, model)


def _object(text: bytes | None) -> dict[str, Any]:
    try:
        found: object = json.loads(text or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _number(value: bytes | None) -> float | None:
    try:
        number = float(value or b"")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
