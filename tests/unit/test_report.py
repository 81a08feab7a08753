"""What `qd-agent status` says in plain lines."""

import pytest

from qd_agent.report import health_lines

NOW = 1_700_000_100.0
AGENT = {
    "agent_id": "qd-1",
    "state": "running",
    "host": "beamline",
    "pid": "7",
    "version": "0.1",
    "source": "tcp://127.0.0.1:5578",
    "source_state": "connected",
    "queued_documents": "12",
    "refused": "3",
    "model": "pbs-1",
    "seen": "40",
    "sized": "30",
    "abstained": "2",
    "set_aside": "1",
    "open": "7",
    "away": "2",
    "behind_s": "41.6",
    "last_frame": "1700000090.0",
    "sink_redis": "up",
    "backlog_redis": "0",
    "lag_redis_s": "0.0",
    "sink_tiled": "down",
    "backlog_tiled": "120",
    "lag_tiled_s": "75.2",
}


def test_lag_and_backlog_of_the_agent_and_of_each_store_are_in_the_plain_text():
    text = "\n".join(health_lines(AGENT, NOW))
    assert "behind     42 s, 2 of the open frames cannot be read now" in text
    assert "redis      up, 0 predictions waiting\n" in text
    assert "tiled      down, 120 predictions waiting, for 75 s" in text
    assert "source     tcp://127.0.0.1:5578: connected" in text
    assert "documents  12 waiting, 3 refused" in text
    assert "last frame 10 s ago" in text


def test_why_the_source_gives_nothing_is_said():
    lines = health_lines(AGENT | {"source_state": "refused: the publisher ..."}, NOW)
    assert "  source     tcp://127.0.0.1:5578: refused: the publisher ..." in lines


@pytest.mark.parametrize("value", ["", "soon", "nan", "1e999"])
def test_a_heartbeat_of_another_version_or_of_nobody_breaks_nothing(value: str):
    assert health_lines({}, NOW)
    odd = dict.fromkeys(AGENT, value)
    assert len(health_lines(odd, NOW)) == 9
