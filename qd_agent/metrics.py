"""What the agent tells Prometheus, and whoever asks whether it is alive and ready.

Off unless `metrics.port` is set. The numbers are those of the heartbeat, read when they are asked
for, and the latencies of the frames answered by this process.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from pydantic import BaseModel, ConfigDict, Field

from qd_agent.core.errors import Fatal
from qd_agent.core.prediction import Prediction, Verdict

Fields = Mapping[str, str | int | float]

LIVE_S = 300.0
"""An agent whose path has not turned for so long hangs; one frame may take a minute to be read."""
_BUCKETS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
_STAGE_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 30.0)

_COUNTERS = {
    "seen": ("qd_frames_seen", "Frames of the sample seen."),
    "sized": ("qd_frames_sized", "Frames that were given a size."),
    "abstained": ("qd_frames_abstained", "Readable frames that were given no size."),
    "set_aside": ("qd_frames_set_aside", "Frames that could not be used."),
    "refused": ("qd_messages_refused", "Messages that were no document."),
}
_GAUGES = {
    "open": ("qd_frames_open", "Frames seen and not yet answered."),
    "away": ("qd_frames_away", "Open frames that cannot be read now."),
    "behind_s": ("qd_behind_seconds", "How long ago the oldest open, readable frame was seen."),
    "queued_documents": ("qd_documents_queued", "Documents that wait for the path."),
    "last_frame": ("qd_last_frame_timestamp_seconds", "Time of the newest frame answered."),
    "started": ("qd_start_timestamp_seconds", "When the agent was started."),
}


class MetricsSettings(BaseModel):
    """Prometheus metrics and health checks over HTTP."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(default="127.0.0.1", min_length=1, description="address to listen at")
    port: int | None = Field(
        default=None, ge=0, le=65535, description="without it nothing is served; 0: any free one"
    )


class Readable(Protocol):
    """Gives the fields of the heartbeat; see `health.Health`."""

    def __call__(self) -> Fields:
        """Read them now."""
        ...


class AgentMetrics(Collector):
    """The agent's numbers.

    Args:
        fields: gives those of the heartbeat.
    """

    def __init__(self, fields: Readable) -> None:
        self._fields = fields
        self.registry = CollectorRegistry()
        self._latency = Histogram(
            "qd_frame_latency_seconds",
            "From a frame's event to its answer.",
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._stages = Histogram(
            "qd_stage_seconds",
            "Time spent in a stage of the path.",
            ["stage"],
            buckets=_STAGE_BUCKETS,
            registry=self.registry,
        )
        self._verdicts = Counter(
            "qd_predictions", "Answers of this process.", ["verdict"], registry=self.registry
        )
        for verdict in Verdict:  # so that a rate can be taken from the first one on
            self._verdicts.labels(verdict.value)
        self.registry.register(self)

    def observe(self, prediction: Prediction) -> None:
        """Count one answer."""
        self._verdicts.labels(prediction.verdict.value).inc()
        self._latency.observe(max(0.0, prediction.publication_time - prediction.frame_time))
        for stage, milliseconds in prediction.latency_ms.items():
            self._stages.labels(stage).observe(milliseconds / 1e3)

    def collect(self) -> Iterable[Metric]:
        """Give the heartbeat's numbers as metrics."""
        fields = self._fields()
        for field, (name, text) in _COUNTERS.items():
            yield CounterMetricFamily(name, text, value=_number(fields.get(field)))
        for field, (name, text) in _GAUGES.items():
            yield GaugeMetricFamily(name, text, value=_number(fields.get(field)))
        connected = fields.get("source_state") == "connected"
        yield GaugeMetricFamily("qd_source_connected", "1 while documents can come.", connected)
        yield from _sinks(fields)
        names = ("agent_id", "version", "model", "host")
        info = GaugeMetricFamily("qd_agent_info", "Who this is; always 1.", labels=names)
        info.add_metric([str(fields.get(name, "")) for name in names], 1)
        yield info


def _sinks(fields: Fields) -> Iterable[Metric]:
    names = [name.removeprefix("sink_") for name in fields if name.startswith("sink_")]
    up = GaugeMetricFamily("qd_sink_up", "1 while a store takes predictions.", labels=["sink"])
    backlog = GaugeMetricFamily(
        "qd_sink_backlog", "Predictions that a store has not been given.", labels=["sink"]
    )
    lag = GaugeMetricFamily(
        "qd_sink_lag_seconds", "How long ago the first of these was made.", labels=["sink"]
    )
    for name in names:
        up.add_metric([name], fields[f"sink_{name}"] == "up")
        backlog.add_metric([name], _number(fields.get(f"backlog_{name}")))
        lag.add_metric([name], _number(fields.get(f"lag_{name}_s")))
    return up, backlog, lag


def _number(value: str | float | None) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


class MetricsServer:
    """Answers GET /metrics, /healthz, /healthz/live and /healthz/ready until `stop`.

    Args:
        settings: where it listens; `port` is given.
        registry: the metrics.
        health: gives 'live' and 'ready' at this moment.

    Raises:
        Fatal: the address cannot be listened at.
    """

    def __init__(
        self,
        settings: MetricsSettings,
        registry: CollectorRegistry,
        health: Callable[[], Mapping[str, bool]],
    ) -> None:
        handler = type(
            "Handler", (_Handler,), {"registry": registry, "health": staticmethod(health)}
        )
        try:
            self._server = ThreadingHTTPServer((settings.host, settings.port or 0), handler)
        except OSError as error:
            place = f"{settings.host}:{settings.port}"
            raise Fatal(f"metrics cannot be served at {place}: {error.strerror}") from None
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="metrics", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that it listens at."""
        return int(self._server.server_address[1])

    def stop(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5.0)


class _Handler(BaseHTTPRequestHandler):
    registry: CollectorRegistry
    health: Callable[[], Mapping[str, bool]]
    timeout = 10.0
    server_version, sys_version = "qd-agent", ""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            generate, kind = choose_encoder(self.headers.get("accept", ""))
            self._answer(HTTPStatus.OK, generate(self.registry), kind)
            return
        asked = {"/healthz": "ready", "/healthz/ready": "ready", "/healthz/live": "live"}.get(path)
        if asked is None:
            self._answer(HTTPStatus.NOT_FOUND, b"try /metrics or /healthz\n", "text/plain")
            return
        health = self.health()
        status = HTTPStatus.OK if health[asked] else HTTPStatus.SERVICE_UNAVAILABLE
        self._answer(status, json.dumps(health).encode() + b"\n", "application/json")

    def _answer(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing: who asks every few seconds is no news."""


def health_of(state: str, turned: float, sinks: Mapping[str, str]) -> dict[str, bool]:
    """Tell whether the agent is alive (its path turns) and ready (answers reach Redis).

    Args:
        state: of the service.
        turned: `time.monotonic()` of the path's last turn; 0 before the first.
        sinks: state of each store.
    """
    live = not turned or time.monotonic() - turned < LIVE_S
    return {"live": live, "ready": live and state == "running" and sinks.get("redis") == "up"}
