"""What Prometheus is told, and that dashboards and alerts ask for names that exist."""

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from qd_agent.core.errors import Fatal
from qd_agent.core.prediction import Verdict
from qd_agent.metrics import AgentMetrics, MetricsServer, MetricsSettings, health_of
from tests.helpers.predictions import refused, sized

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
FIELDS: dict[str, str | int | float] = {
    "agent_id": "a",
    "version": "1",
    "model": 'hostile "\n\\ name',
    "host": "h",
    "source_state": "connected",
    "refused": 3,
    "started": 1.7e9,
    "last_frame": "",
    "queued_documents": 4,
    "seen": 10,
    "sized": 7,
    "abstained": 2,
    "set_aside": 1,
    "open": 5,
    "away": 2,
    "behind_s": 1.5,
    "sink_redis": "up",
    "backlog_redis": 0,
    "lag_redis_s": 0.0,
    "sink_tiled": "down",
    "backlog_tiled": 6,
    "lag_tiled_s": 9.5,
}


@pytest.fixture
def metrics() -> AgentMetrics:
    made = AgentMetrics(lambda: FIELDS)
    made.observe(sized("run-1", 1))
    made.observe(refused("run-1", 2))
    return made


@pytest.fixture
def server(metrics: AgentMetrics) -> Iterator[MetricsServer]:
    health = {"live": True, "ready": False}
    made = MetricsServer(MetricsSettings(port=0), metrics.registry, lambda: health)
    yield made
    made.stop()


def ask(server: MetricsServer, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}") as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def samples(server: MetricsServer) -> dict[str, float]:
    _, text = ask(server, "/metrics")
    return {
        " ".join([sample.name, *(f"{k}={v}" for k, v in sample.labels.items())]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_heartbeats_numbers_and_the_answers_are_told(server: MetricsServer):
    found = samples(server)
    assert found["qd_frames_seen_total"] == 10
    assert found["qd_frames_open"] == 5
    assert found["qd_sink_up sink=redis"] == 1
    assert found["qd_sink_up sink=tiled"] == 0
    assert found["qd_sink_lag_seconds sink=tiled"] == 9.5
    assert found["qd_predictions_total verdict=sized"] == 1
    assert found["qd_predictions_total verdict=bad_frame"] == 1
    assert found["qd_predictions_total verdict=out_of_domain"] == 0
    assert found["qd_frame_latency_seconds_count"] == 2
    assert found["qd_stage_seconds_sum stage=reduce"] == pytest.approx(0.02)
    assert found["qd_last_frame_timestamp_seconds"] == 0, "none yet"
    assert found["qd_source_connected"] == 1


def test_health_is_told_by_its_status_code(server: MetricsServer):
    assert ask(server, "/healthz/live")[0] == 200
    code, text = ask(server, "/healthz/ready")
    assert (code, json.loads(text)) == (503, {"live": True, "ready": False})
    assert ask(server, "/healthz")[0] == 503
    assert ask(server, "/etc/passwd")[0] == 404


def test_an_agent_is_ready_while_answers_reach_redis_and_alive_while_its_path_turns():
    assert health_of("running", 0.0, {"redis": "up"}) == {"live": True, "ready": True}
    assert health_of("running", 0.0, {"redis": "down"})["ready"] is False
    assert health_of("starting", 0.0, {"redis": "up"})["ready"] is False
    assert health_of("running", -1e6, {"redis": "up"}) == {"live": False, "ready": False}


def test_a_port_that_is_taken_is_named(server: MetricsServer, metrics: AgentMetrics):
    with pytest.raises(Fatal, match=f"127.0.0.1:{server.port}"):
        MetricsServer(MetricsSettings(port=server.port), metrics.registry, dict)


def expressions() -> list[str]:
    dashboard = json.loads((DEPLOY / "grafana" / "qd-agent.json").read_text())
    rules = YAML(typ="safe").load(DEPLOY / "prometheus" / "alerts.yaml")
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked += [item["query"]["query"] for item in dashboard["templating"]["list"][1:]]
    return asked + [rule["expr"] for group in rules["groups"] for rule in group["rules"]]


def test_grafana_and_the_alerts_ask_for_metrics_that_exist(server: MetricsServer):
    known = {name.split()[0] for name in samples(server)}
    asked = {name for text in expressions() for name in re.findall(r"\bqd_[a-z_]+\b", text)}
    assert asked <= known
    gone_without_notice = known - asked - {name for name in known if name.endswith("_created")}
    assert gone_without_notice <= {
        "qd_start_timestamp_seconds",
        "qd_frame_latency_seconds_count",
        "qd_frame_latency_seconds_sum",
        "qd_stage_seconds_bucket",
    }, "every other metric is shown somewhere"


def test_grafana_and_the_alerts_ask_for_labels_that_exist(server: MetricsServer):
    known = {label.split("=")[0] for name in samples(server) for label in name.split(" ")[1:]}
    used = {
        label
        for text in expressions()
        for label in re.findall(r'(\w+)=~?"', text) + re.findall(r"by \((\w+)\)", text)
    }
    assert used <= known | {"instance", "job", "le"}
    verdicts = {
        verdict
        for text in expressions()
        for group in re.findall(r'verdict=~"([^"]+)"', text)
        for verdict in group.split("|")
    }
    assert verdicts == {"out_of_domain", "insufficient_q", "bad_frame"} & set(Verdict)


def test_the_alerts_that_were_promised_are_there():
    rules = YAML(typ="safe").load(DEPLOY / "prometheus" / "alerts.yaml")
    names = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    wanted = {"QdAgentStale", "QdAgentBacklog", "QdAgentRefusedShare", "QdAgentSinkDown"}
    assert wanted <= names
    assert all(
        rule["annotations"]["summary"] for group in rules["groups"] for rule in group["rules"]
    )
