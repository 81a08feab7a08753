"""Predictions in Redis, each published once by one server-side transaction."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from qd_agent.core.frame import RunClosed, RunOpened
from qd_agent.core.pattern import PUBLISHED_GRID
from qd_agent.core.ports import DeliveryRecord
from qd_agent.core.prediction import Prediction, Provenance, StoredFrame
from qd_agent.sinks.connections import RedisConnection
from qd_agent.sinks.plain import plain_metadata, plain_text
from qd_agent.sinks.redis_keys import Keys
from qd_agent.sinks.redis_link import connect, translated
from qd_agent.sinks.redis_script import PUBLISH
from qd_agent.sinks.settings import RedisSettings

_REMEMBERED_RUNS = 20


class RedisSink:
    """A `core.ports.PredictionSink`. One thread at a time may use it.

    Args:
        settings: prefix and limits.
        connection: where Redis is.
        agent_id: name under which `heartbeat` reports.

    Raises:
        Unavailable: Redis is away.
        Fatal: it refuses us.
    """

    name = "redis"

    def __init__(
        self, settings: RedisSettings, connection: RedisConnection, agent_id: str = "qd-agent"
    ) -> None:
        self._settings, self._connection, self._agent_id = settings, connection, agent_id
        self._keys = Keys(settings.prefix)
        self._announced: dict[str, tuple[RunOpened, Provenance]] = {}
        self._client = connect(connection)
        # Sent by its hash; a server that does not know it (new, restarted) is sent it again.
        self._publish = self._client.register_script(PUBLISH)
        with translated(connection):
            self._client.ping()

    def open_run(self, run: RunOpened, provenance: Provenance) -> None:
        """Announce a run; a repeat changes nothing, metadata that came late are filled in."""
        self._announced[run.run_uid] = (run, provenance)
        while len(self._announced) > _REMEMBERED_RUNS:
            del self._announced[next(iter(self._announced))]
        with translated(self._connection):
            self._announce(run, provenance)

    def deliver(self, records: Sequence[DeliveryRecord]) -> None:
        """Publish predictions, in order; those that are published already are left alone.

        Raises:
            Unavailable: Redis is away; call again with the same records.
        """
        with translated(self._connection):
            self._announce_forgotten({record.prediction.key.run_uid for record in records})
            for record in records:
                self._deliver(record)

    def close_run(self, run: RunClosed, account: Mapping[str, int]) -> None:
        """Record that a run has stopped, with its account."""
        fields: dict[Any, Any] = {
            "uid": plain_text(run.run_uid),
            "state": "closed",
            "stop_time": run.time,
            "exit_status": plain_text(run.exit_status),
            "stop_reason": plain_text(run.reason),
            "account": json.dumps(dict(account)),
        }
        with translated(self._connection):
            self._announce_forgotten({run.run_uid})
            self._client.hset(self._keys.run(run.run_uid), mapping=fields)
        self._announced.pop(run.run_uid, None)

    def heartbeat(self, fields: Mapping[str, str | int | float | None]) -> None:
        """Say that this agent is alive; the fields vanish when it stops saying so.

        Raises:
            Unavailable: Redis is away.
        """
        key = self._keys.agent(self._agent_id)
        values = {plain_text(k): "" if v is None else plain_text(str(v)) for k, v in fields.items()}
        with translated(self._connection), self._client.pipeline(transaction=True) as pipe:
            pipe.delete(key)
            pipe.hset(key, mapping={"agent_id": self._agent_id, **values})
            pipe.expire(key, self._settings.heartbeat_expiry_s)
            pipe.execute()

    def census(self, run_uids: Sequence[str]) -> dict[str, int]:
        """Count the predictions that Redis holds of each run; -1 for a run it does not know.

        Raises:
            Unavailable: Redis is away.
        """
        with translated(self._connection), self._client.pipeline(transaction=False) as pipe:
            for uid in run_uids:
                pipe.hexists(self._keys.run(uid), "start_time")
                pipe.scard(self._keys.run_published(uid))
            answers: list[Any] = pipe.execute()
        known = zip(run_uids, answers[::2], answers[1::2], strict=True)
        return {uid: int(count) if announced else -1 for uid, announced, count in known}

    def held(self, run_uid: str) -> frozenset[StoredFrame]:
        """Give everything that was published of a run.

        Raises:
            Unavailable: Redis is away.
        """
        with translated(self._connection):
            members: set[Any] = self._client.smembers(self._keys.run_published(run_uid))  # pyright: ignore[reportAssignmentType] - also typed as awaitable
        return frozenset(StoredFrame(*json.loads(member)) for member in members)

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def _announce(self, run: RunOpened, provenance: Provenance) -> None:
        fields = {
            "uid": plain_text(run.run_uid),
            "state": "open",
            "start_time": _finite(run.time),
            "metadata": json.dumps(plain_metadata(run.metadata)),
            "provenance": provenance.model_dump_json(),
        }
        key = self._keys.run(run.run_uid)
        late = ("start_time", "metadata") if run.metadata else ()
        with self._client.pipeline(transaction=True) as pipe:
            for name, value in fields.items():
                if name in late:
                    pipe.hset(key, name, value)
                else:
                    pipe.hsetnx(key, name, value)
            pipe.zadd(self._keys.runs, {plain_text(run.run_uid): _finite(run.time)})
            pipe.execute()

    def _announce_forgotten(self, run_uids: set[str]) -> None:
        """Announce runs again that a Redis emptied behind our back knows no more."""
        for uid in sorted(run_uids & self._announced.keys()):
            if not self._client.hexists(self._keys.run(uid), "start_time"):
                self._announce(*self._announced[uid])

    def _deliver(self, record: DeliveryRecord) -> None:
        prediction = record.prediction
        uid = prediction.key.run_uid
        keys = self._keys
        self._publish(
            keys=[
                keys.run_published(uid),
                keys.predictions,
                keys.run_predictions(uid),
                keys.run_patterns(uid),
                keys.run(uid),
                keys.latest,
                keys.runs,
                keys.run_set_aside(uid),
            ],
            args=[
                _member(prediction),
                prediction.model_dump_json(),
                prediction.verdict.value,
                plain_text(uid),
                str(prediction.key),
                repr(_finite(prediction.frame_time)),
                "" if prediction.diameter_nm is None else repr(prediction.diameter_nm),
                _bytes(record.intensity),
                _bytes(record.model),
                repr(PUBLISHED_GRID.q_min),
                repr(PUBLISHED_GRID.step),
                self._settings.max_predictions,
                self._settings.max_patterns_per_run,
                max(1, round(self._settings.patterns_keep_hours * 3600)),
                prediction.revision,
            ],
        )


def _member(prediction: Prediction) -> str:
    """Name what is published: the frame within its run, and the model that answered."""
    key, made_by = prediction.key, prediction.provenance
    name = [key.stream, key.data_key, key.seq_num, key.index]
    revision = [prediction.revision] if prediction.revision else []
    return json.dumps([*name, made_by.model_version, made_by.model_sha256, *revision])


def _finite(time: float) -> float:
    """Give a time that can be compared; documents may carry NaN."""
    return time if math.isfinite(time) else 0.0


def _bytes(values: npt.NDArray[np.float32] | None) -> bytes:
    return b"" if values is None else np.ascontiguousarray(values, dtype="<f4").tobytes()
