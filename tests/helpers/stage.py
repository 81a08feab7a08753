"""A Redis that is filled as the agent fills it, by its own sink, and a dashboard that shows it.

Nothing has to be waited for: no frames are taken and none is sized.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from qd_agent.core.pattern import PUBLISHED_GRID
from qd_agent.core.prediction import Prediction
from qd_agent.embedded import RunningServer
from qd_agent.sinks import RedisConnection, RedisSettings, open_sink
from qd_agent.sinks.redis_stream import RedisSink
from tests.helpers.dashboard import running_dashboard
from tests.helpers.predictions import PROVENANCE, Record, sized
from tests.helpers.predictions import opened as run_opened
from tests.helpers.servers import running_redis


@dataclass(frozen=True)
class Stage:
    """A Redis, what fills it, and the dashboard's address."""

    server: RunningServer
    sink: RedisSink
    address: str
    folder: Path

    def begin(self, uid: str, **metadata: object) -> None:
        run = run_opened(uid, **metadata)
        now = time.time()
        self.sink.open_run(type(run)(run_uid=uid, time=now, metadata=run.metadata), PROVENANCE)

    def publish(self, *predictions: Prediction, patterns: bool = False) -> None:
        curve = np.full(PUBLISHED_GRID.size, 70.0, np.float32) if patterns else None
        self.sink.deliver([Record(p, curve, curve) for p in predictions])


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("stage")
    with running_redis(folder / "redis") as server:
        # A heartbeat holds for longer than any test lasts: nobody repeats it here.
        settings = RedisSettings(heartbeat_expiry_s=3600)
        sink = open_sink(settings, RedisConnection(server.url, server.secret))
        with running_dashboard("--data", folder) as address:
            yield Stage(server, sink, address, folder)
        sink.close()


def frames(uid: str, numbers: range, **changes: object) -> list[Prediction]:
    """Frames of now, 0.1 s apart, that grow."""
    begin = time.time() - 0.1 * numbers.stop
    return [
        sized(
            uid,
            n,
            frame_time=begin + 0.1 * n,
            diameter_nm=3 + n / 10_000,
            interval_nm=(2.9 + n / 10_000, 3.1 + n / 10_000),
            flags=(),
            **changes,
        )
        for n in numbers
    ]
