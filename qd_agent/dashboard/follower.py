"""The thread that reads Redis for all viewers, however many they are."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import asdict

import structlog
from redis.exceptions import RedisError

from qd_agent.core.errors import QdError
from qd_agent.dashboard.feed import Feed, latency_ms
from qd_agent.dashboard.store import RunStore

_log = structlog.get_logger(__name__)

PAUSE_S = 1.0
"""Time between two looks at heartbeats and at which run is the newest."""
RUNS_PAUSE_S = 3.0
LISTED_RUNS = 200
_WAIT_MS = 250


class Follower(threading.Thread):
    """Follows the newest run; goes on by itself when Redis has been away.

    Args:
        store: Redis.
        feed: where what is found goes.
        pinned: follow this run and no other, or None.
    """

    def __init__(self, store: RunStore, feed: Feed, pinned: str | None = None) -> None:
        super().__init__(name="dashboard-follower", daemon=True)
        self._store, self._feed, self._pinned = store, feed, pinned
        self._stopping = threading.Event()
        self._uid: str | None = None
        self._last = "0-0"
        self._look_at = self._list_at = 0.0

    def run(self) -> None:
        """Follow until told to stop."""
        away_since: float | None = None
        while not self._stopping.is_set():
            try:
                self._turn()
            except (RedisError, OSError) as error:
                if away_since is None:
                    away_since = time.time()
                    _log.warning("Redis is away", reason=type(error).__name__)
                self._say_redis(away_since, type(error).__name__)
                self._look_at = 0.0
                self._stopping.wait(0.5)
                with contextlib.suppress(QdError):
                    self._store.renew()
            else:
                if away_since is not None:
                    _log.info("Redis is back")
                    away_since = None

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self.join(timeout=5.0)

    def _turn(self) -> None:
        now = time.monotonic()
        if now >= self._look_at:
            self._look()
            self._look_at = now + PAUSE_S
        if now >= self._list_at:
            runs = [asdict(run) for run in self._store.runs(LISTED_RUNS)]
            self._feed.update("runs", {"runs": runs})
            self._list_at = now + RUNS_PAUSE_S
        if self._uid is None:
            self._stopping.wait(_WAIT_MS / 1000)
        elif self._store.wait(self._uid, self._last, _WAIT_MS):
            self._take()

    def _look(self) -> None:
        """See who is alive, and whether there is a newer run."""
        agents = self._store.agents()
        uid = self._pinned or self._store.current_run()
        info = None if uid is None else self._store.run(uid)
        if uid != self._uid:
            rows, self._last = ([], "0-0") if uid is None else self._store.all_frames(uid)
            self._uid = uid
            self._feed.begin_run(info, rows)
        elif info is not None:
            self._feed.describe_run(info)
        latency = latency_ms(self._feed.recent())
        redis = {"up": True, "since": None, "reason": ""}
        self._feed.update("health", {"redis": redis, "agents": agents, "latency_ms": latency})

    def _take(self) -> None:
        if self._uid is None:
            return
        more = True
        while more and not self._stopping.is_set():
            rows, reached = self._store.frames(self._uid, self._last)
            more, self._last = reached != self._last, reached
            self._feed.add_frames(rows)

    def _say_redis(self, since: float, reason: str) -> None:
        self._feed.update("health", {"redis": {"up": False, "since": since, "reason": reason}})
