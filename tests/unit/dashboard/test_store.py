"""Reading Redis back: what the agent's sink has written, and what others may have."""

import numpy as np
import pytest
import redis

from qd_agent.dashboard.spectra import HEAT_BIN, Heat, binned_curves
from qd_agent.dashboard.store import RunStore
from qd_agent.embedded import RunningServer
from qd_agent.sinks import RedisConnection, RedisSettings, open_sink
from qd_agent.sinks.redis_link import connect
from tests.helpers.predictions import PROVENANCE, Record, closed, opened, record, refused
from tests.helpers.servers import redis_client, redis_server

__all__ = ["redis_server"]


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    return request.node.name[:60]


def filled(server: RunningServer, prefix: str, uid: str, count: int = 5) -> RunStore:
    connection = RedisConnection(server.url, server.secret)
    sink = open_sink(RedisSettings(prefix=prefix), connection)
    sink.open_run(opened(uid, sample_name="a sample", scan_id=7), PROVENANCE)
    sink.deliver([record(uid, n) for n in range(1, count + 1)])
    sink.heartbeat({"state": "running", "open": 3})
    sink.close()
    return RunStore(lambda: connect(connection), prefix)


def test_what_the_agent_publishes_is_read_back(redis_server: RunningServer, prefix: str):
    store = filled(redis_server, prefix, "run 1: a/b")
    assert store.current_run() == "run 1: a/b"
    info = store.run("run 1: a/b")
    assert info is not None
    assert (info.sample, info.plan, info.scan_id, info.state) == ("a sample", "count", "7", "open")
    assert info.counts["sized"] == 5
    assert [run.uid for run in store.runs(10)] == ["run 1: a/b"]
    rows, last = store.all_frames("run 1: a/b")
    assert [row.seq_num for row in rows] == [1, 2, 3, 4, 5]
    assert rows[0].temperature == 120.5
    assert store.frames("run 1: a/b", last) == ([], last)
    (agent,) = store.agents()
    assert (agent["state"], agent["open"]) == ("running", "3")
    store.close()


def test_a_frames_pattern_is_found_among_all(redis_server: RunningServer, prefix: str):
    store = filled(redis_server, prefix, "run-1", 50)
    rows, _ = store.all_frames("run-1")
    for row in rows:
        curves = store.curves("run-1", row.key, row.entry)
        assert curves is not None
        assert (curves.intensity[0], curves.model[0]) == (row.seq_num, -row.seq_num)
        assert curves.q[0] == 0.99
    assert store.curves("run-1", "primary/detector/999/0", rows[0].entry) is None
    assert store.curves("run-1", rows[0].key, "9999999999999-0") is None
    store.close()


def test_a_frame_tried_anew_has_one_row(redis_server: RunningServer, prefix: str):
    connection = RedisConnection(redis_server.url, redis_server.secret)
    sink = open_sink(RedisSettings(prefix=prefix), connection)
    sink.deliver([Record(refused("run-1", 1)), record("run-1", 2)])
    sink.deliver([Record(record("run-1", 1).prediction.model_copy(update={"revision": 1}))])
    sink.close_run(closed("run-1"), {"expected": 2})
    sink.close()
    store = RunStore(lambda: connect(connection), prefix)
    rows, _ = store.all_frames("run-1")
    assert sorted((row.seq_num, row.sized) for row in rows) == [(1, True), (2, True)]
    info = store.run("run-1")
    assert info is not None
    assert (info.state, info.exit_status, info.expected) == ("closed", "success", 2)
    store.close()


def test_what_others_wrote_into_the_streams_is_left_out(redis_server: RunningServer, prefix: str):
    store = filled(redis_server, prefix, "run-1", 2)
    with redis_client(redis_server) as client:
        stream = f"{prefix}:run:run-1:predictions"
        for text in (b"", b"{", b"[]", b'{"verdict": "sized"}', b"\xff\xfe", b"null"):
            client.xadd(stream, {b"prediction": text})
        client.xadd(stream, {b"other": b"field"})
        client.hset(f"{prefix}:run:run-1", "metadata", b"\xff{not json")
        client.hset(f"{prefix}:run:run-1", "start_time", "nan")
    rows, _ = store.all_frames("run-1")
    assert len(rows) == 2
    info = store.run("run-1")
    assert info is not None
    assert (info.sample, info.start_time) == ("", None)
    store.close()


def test_an_empty_redis_has_no_run(redis_server: RunningServer, prefix: str):
    connection = RedisConnection(redis_server.url, redis_server.secret)
    store = RunStore(lambda: connect(connection), prefix)
    assert store.current_run() is None
    assert store.runs(10) == []
    assert store.run("absent") is None
    assert store.all_frames("absent") == ([], "0-0")
    assert store.agents() == []
    store.close()


def test_a_run_that_has_started_and_has_no_frame_is_the_current_one(
    redis_server: RunningServer, prefix: str
):
    store = filled(redis_server, prefix, "old")
    with redis_client(redis_server) as client:
        client.zadd(f"{prefix}:runs", {"young": 1.8e9})
    assert store.current_run() == "young"
    store.close()


def test_a_redis_that_is_away_is_said_so_and_found_when_it_is_known_again(
    redis_server: RunningServer, prefix: str
):
    place = [RedisConnection("redis://127.0.0.1:1")]
    store = RunStore(lambda: connect(place[0]), prefix)
    with pytest.raises(redis.RedisError):
        store.current_run()
    place[0] = RedisConnection(redis_server.url, redis_server.secret)
    store.renew()
    assert store.current_run() is None
    store.close()


def test_the_heat_map_gives_each_frame_once(redis_server: RunningServer, prefix: str):
    store = filled(redis_server, prefix, "run-1", 6)
    heat = Heat(store)
    first = heat.columns("run-1", "0-0")
    assert len(first["times"]) == 6  # type: ignore[arg-type]
    assert len(first["q"]) == 5004 // HEAT_BIN  # type: ignore[arg-type]
    assert heat.columns("run-1", str(first["last"]))["times"] == []
    store.close()


def test_curves_are_averaged_and_none_is_invented(redis_server: RunningServer, prefix: str):
    store = filled(redis_server, prefix, "run-1", 1)
    (row,), _ = store.all_frames("run-1")
    curves = store.curves("run-1", row.key, row.entry)
    assert curves is not None
    shown = binned_curves(curves)
    assert {name: len(values) for name, values in shown.items()} == dict.fromkeys(
        ("q", "intensity", "model", "residual"), 1251
    )
    assert shown["intensity"][5] == 70.0
    assert np.diff(shown["q"]) == pytest.approx(0.0112, abs=1e-4)
    store.close()
