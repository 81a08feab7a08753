"""Predictions in a real Redis: each once, in order, through every kind of trouble."""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import redis

from qd_agent.core.errors import Fatal, Mistake, Unavailable
from qd_agent.core.frame import FrameKey, RunOpened
from qd_agent.core.prediction import Prediction, StoredFrame
from qd_agent.embedded import RunningServer
from qd_agent.embedded.redis import _answers, find_program
from qd_agent.embedded.server import launch, stop_guard, wait_ready
from qd_agent.sinks import RedisConnection, RedisSettings, open_sink
from qd_agent.sinks.checks import check_redis, read_status
from qd_agent.sinks.reading import PredictionReader
from qd_agent.sinks.redis_stream import RedisSink
from tests.helpers.predictions import (
    PROVENANCE,
    Record,
    closed,
    opened,
    pattern,
    record,
    refused,
    sized,
)
from tests.helpers.servers import redis_client, running_redis

Open = Callable[..., RedisSink]


def _connection(server: RunningServer) -> RedisConnection:
    return RedisConnection(server.url, server.secret)


@pytest.fixture
def prefix() -> str:
    return f"t{uuid.uuid4().hex[:8]}"


@pytest.fixture
def open_here(redis_server: RunningServer, prefix: str) -> Iterator[Open]:
    sinks: list[RedisSink] = []

    def open_one(agent_id: str = "agent", **settings: object) -> RedisSink:
        chosen = RedisSettings.model_validate({"prefix": prefix, **settings})
        sinks.append(open_sink(chosen, _connection(redis_server), agent_id))
        return sinks[-1]

    yield open_one
    for sink in sinks:
        sink.close()


@pytest.fixture
def plain(redis_server: RunningServer) -> Iterator[redis.Redis]:
    with redis_client(redis_server) as client:
        yield client


def _seq_nums(client: redis.Redis, stream: str) -> list[int]:
    return [
        Prediction.model_validate_json(fields[b"prediction"]).key.seq_num
        for _, fields in client.xrange(stream)
    ]


def test_a_prediction_comes_back_as_it_went_in(
    open_here: Open, plain: redis.Redis, prefix: str
) -> None:
    sink = open_here()
    sink.open_run(opened("run-1", sample="PbS"), PROVENANCE)
    sink.deliver([record("run-1", 1)])
    ((_, entry),) = plain.xrange(f"{prefix}:run:run-1:predictions")
    assert Prediction.model_validate_json(entry[b"prediction"]) == sized("run-1", 1)
    ((_, found),) = plain.xrange(f"{prefix}:run:run-1:patterns")
    assert np.array_equal(np.frombuffer(found[b"intensity"], "<f4"), pattern(1))
    assert np.array_equal(np.frombuffer(found[b"model"], "<f4"), pattern(-1))
    assert float(found[b"q_min"]) == 0.99
    assert float(found[b"q_step"]) == 0.0028
    assert plain.ttl(f"{prefix}:run:run-1:patterns") > 3600
    run = plain.hgetall(f"{prefix}:run:run-1")
    assert run[b"state"] == b"open"
    assert json.loads(run[b"metadata"])["sample"] == "PbS"
    assert json.loads(run[b"provenance"])["model_sha256"] == PROVENANCE.model_sha256
    assert plain.zscore(f"{prefix}:runs", "run-1") == 1.7e9
    assert float(plain.hget(f"{prefix}:latest", "diameter_nm")) == 4.01


def test_what_is_delivered_again_is_not_stored_again(
    open_here: Open, plain: redis.Redis, prefix: str
) -> None:
    records = [record("run", n) for n in range(1, 6)]
    first, second = open_here(), open_here()  # two lives of the agent, or two at once
    for sink in (first, second, first):
        sink.open_run(opened("run"), PROVENANCE)
        sink.deliver(records)
    sink.close_run(closed("run"), {"expected": 5, "sized": 5})
    second.open_run(opened("run"), PROVENANCE)
    assert _seq_nums(plain, f"{prefix}:predictions") == [1, 2, 3, 4, 5]
    assert _seq_nums(plain, f"{prefix}:run:run:predictions") == [1, 2, 3, 4, 5]
    assert plain.xlen(f"{prefix}:run:run:patterns") == 5
    run = plain.hgetall(f"{prefix}:run:run")
    assert (run[b"predictions"], run[b"sized"], run[b"state"]) == (b"5", b"5", b"closed")
    assert json.loads(run[b"account"]) == {"expected": 5, "sized": 5}


def test_the_same_frame_by_another_model_is_another_prediction(
    open_here: Open, plain: redis.Redis, prefix: str
) -> None:
    newer = PROVENANCE.model_copy(update={"model_version": "1.0.1"})
    open_here().deliver([record("run", 1), Record(sized("run", 1, provenance=newer))])
    assert _seq_nums(plain, f"{prefix}:predictions") == [1, 1]


def test_frames_that_differ_in_one_part_of_their_name_are_all_stored(
    open_here: Open, plain: redis.Redis, prefix: str
) -> None:
    names = [("a/b", "c", 1, 0), ("a", "b/c", 1, 0), ("a", "b", 1, 0), ("a", "b", 1, 1)]
    keys = [
        FrameKey(run_uid="run", stream=s, data_key=d, seq_num=n, index=i) for s, d, n, i in names
    ]
    open_here().deliver([Record(sized("run", 1, key=key)) for key in keys])
    assert plain.xlen(f"{prefix}:predictions") == 4


def test_two_agents_with_the_same_records_at_the_same_time_store_each_once(
    open_here: Open, plain: redis.Redis, prefix: str
) -> None:
    records = [record("run", n) for n in range(1, 101)]
    sinks = [open_here(), open_here()]
    threads = [threading.Thread(target=sink.deliver, args=(records,)) for sink in sinks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert _seq_nums(plain, f"{prefix}:predictions") == list(range(1, 101))
    assert plain.hget(f"{prefix}:run:run", "predictions") == b"100"


def test_runs_that_interleave_keep_their_own_streams_and_order(
    open_here: Open, plain: redis.Redis, prefix: str
) -> None:
    mixed = [record(run, n) for n in range(1, 11) for run in ("one", "two")]
    open_here().deliver(mixed)
    for run in ("one", "two"):
        assert _seq_nums(plain, f"{prefix}:run:{run}:predictions") == list(range(1, 11))
        assert plain.hget(f"{prefix}:run:{run}", "predictions") == b"10"
    assert plain.zcard(f"{prefix}:runs") == 2


def test_a_uid_cannot_reach_the_keys_of_another_run(
    open_here: Open, plain: redis.Redis, prefix: str
) -> None:
    uids = ["a", "a:predictions", "../a", "a b\r\nFLUSHALL", "ünï*?[]", "=3A", "x" * 128, ".", ".."]
    sink = open_here()
    for uid in uids:
        sink.open_run(opened(uid), PROVENANCE)
        sink.deliver([record(uid, 1)])
        sink.close_run(closed(uid), {})
    assert plain.zcard(f"{prefix}:runs") == len(uids)
    assert plain.xlen(f"{prefix}:predictions") == len(uids)
    hashes = [key for key in plain.keys(f"{prefix}:run:*") if plain.type(key) == b"hash"]
    assert {plain.hget(key, "uid").decode() for key in hashes} == set(uids)


def test_hostile_text_arrives_as_it_is(open_here: Open, plain: redis.Redis, prefix: str) -> None:
    reason = "\"';--\x00\r\n$(rm)\u202e\U0001f4a5" + "x" * 10_000
    sink = open_here()
    start = {"nan": float("nan"), "huge": 10**400, "bytes": b"\xff", "lone": "\ud800", 5: {1, 2}}
    sink.open_run(opened("run", **{str(k): v for k, v in start.items()}), PROVENANCE)
    sink.deliver([Record(refused("run", 1, reason))])
    ((_, entry),) = plain.xrange(f"{prefix}:predictions")
    assert Prediction.model_validate_json(entry[b"prediction"]).reason == reason
    metadata = json.loads(plain.hget(f"{prefix}:run:run", "metadata"))
    assert metadata["nan"] is None
    assert metadata["bytes"] == "1 bytes"
    assert plain.hget(f"{prefix}:run:run", "bad_frame") == b"1"
    assert plain.xlen(f"{prefix}:run:run:patterns") == 0


def test_times_that_are_no_numbers_do_not_stop_the_stream(
    open_here: Open, plain: redis.Redis, prefix: str
) -> None:
    sink = open_here()
    for n, odd in enumerate([math.nan, math.inf, -math.inf, -1e300]):
        sink.open_run(replace(opened(f"run-{n}"), time=odd), PROVENANCE)
    for n, odd in enumerate([0.0, -1e300, 1e300]):
        sink.deliver([Record(sized("run", n + 1, frame_time=odd))])
    assert plain.zscore(f"{prefix}:runs", "run-0") == 0.0
    assert plain.xlen(f"{prefix}:predictions") == 3


def test_patterns_and_the_stream_of_all_runs_are_capped_and_a_runs_own_is_not(
    open_here: Open, plain: redis.Redis, prefix: str
) -> None:
    sink = open_here(max_patterns_per_run=3, max_predictions=100)
    sink.deliver([record("run", n) for n in range(1, 501)])
    assert plain.xlen(f"{prefix}:run:run:patterns") == 3
    ((_, newest),) = plain.xrevrange(f"{prefix}:run:run:patterns", count=1)
    assert newest[b"frame"].decode() == "run/primary/detector/500/0"
    assert plain.xlen(f"{prefix}:run:run:predictions") == 500
    assert 100 <= plain.xlen(f"{prefix}:predictions") < 300  # whole nodes of the stream go


def test_a_frame_recovered_late_does_not_turn_the_latest_back(
    open_here: Open, plain: redis.Redis, prefix: str
) -> None:
    sink = open_here()
    sink.deliver([record("run", n) for n in (1, 3, 2)])
    assert plain.hget(f"{prefix}:latest", "frame") == b"run/primary/detector/3/0"
    sink.deliver([Record(sized("next", 1, frame_time=5.0))])  # a run by a wrong clock
    assert plain.hget(f"{prefix}:latest", "run_uid") == b"next"


def test_after_an_emptied_redis_the_run_is_announced_again(
    open_here: Open, plain: redis.Redis, prefix: str
) -> None:
    sink = open_here()
    sink.open_run(opened("run", sample="PbS"), PROVENANCE)
    sink.deliver([record("run", 1)])
    plain.flushall()
    plain.script_flush()
    sink.deliver([record("run", 2)])
    sink.deliver([record("run", 3)])
    assert _seq_nums(plain, f"{prefix}:predictions") == [2, 3]
    assert json.loads(plain.hget(f"{prefix}:run:run", "metadata"))["sample"] == "PbS"


def test_metadata_that_come_late_are_filled_in(
    open_here: Open, plain: redis.Redis, prefix: str
) -> None:
    sink = open_here()
    sink.open_run(RunOpened("run", 1.7e9 + 5, {}), PROVENANCE)
    sink.deliver([record("run", 1)])
    sink.open_run(opened("run", sample="PbS"), PROVENANCE)
    sink.close_run(closed("run"), {"expected": 1})
    sink.open_run(RunOpened("run", 1.7e9 + 9, {}), PROVENANCE)
    run = plain.hgetall(f"{prefix}:run:run")
    assert json.loads(run[b"metadata"])["sample"] == "PbS"
    assert (float(run[b"start_time"]), run[b"state"]) == (1.7e9, b"closed")


def test_a_frame_that_is_tried_anew_replaces_its_set_aside_record(
    open_here: Open, plain: redis.Redis, prefix: str
) -> None:
    sink = open_here()
    bad = Record(refused("run", 2))
    sink.deliver([record("run", 1), bad, record("run", 3)])
    for again in (bad, Record(refused("run", 2, "still bad", revision=1)), bad):
        sink.deliver([again])
    newer = PROVENANCE.model_copy(update={"model_version": "1.0.1"})
    good = Record(sized("run", 2, revision=2, provenance=newer))
    for _ in range(2):
        sink.deliver([good, bad])
    for stream in (f"{prefix}:predictions", f"{prefix}:run:run:predictions"):
        assert _seq_nums(plain, stream) == [1, 3, 2]
    run = plain.hgetall(f"{prefix}:run:run")
    counts = [int(run[key]) for key in (b"predictions", b"sized", b"bad_frame")]
    assert counts == [3, 3, 0]


def test_redis_says_what_it_holds(open_here: Open, plain: redis.Redis) -> None:
    sink = open_here()
    sink.open_run(opened("run"), PROVENANCE)
    records = [record("run", 1), Record(refused("run", 2)), Record(refused("run", 2, revision=1))]
    sink.deliver(records)
    assert sink.census(["run", "other"]) == {"run": 3, "other": -1}
    assert sink.held("run") == {StoredFrame.of(r.prediction) for r in records}
    assert sink.held("other") == set()
    plain.flushall()
    assert sink.census(["run"]) == {"run": -1}


def test_a_foreign_key_in_the_way_is_named_and_nothing_is_half_written(
    open_here: Open, plain: redis.Redis, prefix: str
) -> None:
    plain.set(f"{prefix}:latest", "mine")
    with pytest.raises(Fatal, match=rf"{prefix}:latest is a string.*choose another redis.prefix"):
        open_here().deliver([record("run", 1)])
    assert plain.keys(f"{prefix}:*") == [f"{prefix}:latest".encode()]


def test_a_full_redis_is_unavailable_and_takes_the_same_records_later(tmp_path: Path) -> None:
    with running_redis(tmp_path) as server, redis_client(server) as client:
        sink = open_sink(RedisSettings(), _connection(server))
        client.config_set("maxmemory", 1_000)
        with pytest.raises(Unavailable, match="takes nothing now: OOM"):
            sink.deliver([record("run", 1)])
        client.config_set("maxmemory", 0)
        sink.deliver([record("run", 1)])
        assert client.xlen("qd:predictions") == 1
        sink.close()


def test_a_server_stopped_in_the_middle_comes_back_to_the_same_records(tmp_path: Path) -> None:
    records = [record("run", n) for n in range(1, 51)]
    with running_redis(tmp_path) as server:
        connection = _connection(server)
        sink = open_sink(RedisSettings(), connection)
        sink.open_run(opened("run"), PROVENANCE)
        sink.deliver(records[:20])
        os.kill(server.pid, signal.SIGKILL)
        server.process.wait(60)
        with pytest.raises(Unavailable) as caught:
            sink.deliver(records)
        assert server.secret not in str(caught.value)
        assert caught.value.__cause__ is None
    with _same_address(tmp_path, connection) as client:
        sink.deliver(records)
        sink.deliver(records)
        assert _seq_nums(client, "qd:predictions") == list(range(1, 51))
        assert client.hget("qd:run:run", "predictions") == b"50"
    sink.close()


@contextmanager
def _same_address(folder: Path, before: RedisConnection) -> Iterator[redis.Redis]:
    """A Redis on the files, at the address and with the password that another one had."""
    port = int(before.url.rsplit(":", 1)[1].split("/")[0])
    secret = str(before.password)
    # The configuration file that the one before has left says all that.
    guard, _, log = launch("redis", [find_program(), "redis.conf"], folder)
    wait_ready("redis", guard, log, lambda: _answers(port, secret), 60.0)
    with redis.Redis.from_url(before.url, password=secret) as client:
        yield client
    stop_guard(guard)


def test_no_redis_at_the_address_is_unavailable_and_says_where() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(Unavailable, match=f"redis://127.0.0.1:{port}/0 is away") as caught:
            open_sink(RedisSettings(), RedisConnection(f"redis://127.0.0.1:{port}/0"))
    assert "\n" not in str(caught.value)


def test_a_server_that_never_answers_does_not_hold_us_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from qd_agent.sinks import redis_stream
    from qd_agent.sinks.redis_link import connect

    monkeypatch.setattr(redis_stream, "connect", lambda c: connect(c, timeout_s=0.3))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        before = time.monotonic()
        with pytest.raises(Unavailable, match="is away"):
            open_sink(RedisSettings(), RedisConnection(url))
        assert time.monotonic() - before < 5


def test_a_wrong_password_is_fatal_and_never_shown(redis_server: RunningServer) -> None:
    wrong = "hunter2hunter2hunter2"
    url = redis_server.url.replace("//", f"//:{wrong}@")
    for connection in (RedisConnection(url), RedisConnection(redis_server.url, wrong)):
        with pytest.raises(Fatal, match=r"refuses us.*check redis\.url") as caught:
            open_sink(RedisSettings(), connection)
        assert wrong not in str(caught.value) + repr(connection) + repr(caught.value)


def test_a_url_that_is_none_is_a_mistake() -> None:
    with pytest.raises(Mistake, match=r"redis\.url"):
        open_sink(RedisSettings(), RedisConnection("redis://127.0.0.1:notaport/0"))


def test_agents_that_are_alive_are_listed_until_they_fall_silent(
    open_here: Open, redis_server: RunningServer, plain: redis.Redis, prefix: str
) -> None:
    first, second = open_here("a", heartbeat_expiry_s=60), open_here("b", heartbeat_expiry_s=60)
    first.heartbeat({"state": "running", "old": 1})
    first.heartbeat({"state": "running", "frames": 3, "last": None})
    second.heartbeat({"state": "stopping"})
    status = read_status(_connection(redis_server), prefix)
    assert [agent["agent_id"] for agent in status] == ["a", "b"]
    assert status[0]["frames"] == "3"
    assert status[0]["last"] == ""
    assert "old" not in status[0]
    assert 0 < int(status[0]["expires_in_s"]) <= 60
    plain.pexpire(f"{prefix}:agent:a", 1)
    while plain.exists(f"{prefix}:agent:a"):
        pass
    assert [agent["agent_id"] for agent in read_status(_connection(redis_server), prefix)] == ["b"]


def test_the_check_says_what_it_found_and_leaves_nothing(
    open_here: Open, redis_server: RunningServer, plain: redis.Redis, prefix: str
) -> None:
    line = check_redis(RedisSettings(prefix=prefix), _connection(redis_server))
    assert line.startswith("Redis ")
    assert "writable, 0 runs" in line
    assert plain.keys(f"{prefix}:*") == []


def test_a_reader_follows_the_stream_from_its_beginning(
    open_here: Open, redis_server: RunningServer, prefix: str
) -> None:
    sink = open_here()
    sink.deliver([record("run", n) for n in (1, 2)])
    reader = PredictionReader(_connection(redis_server), prefix)
    assert [p.key.seq_num for p, _ in reader.read_new()] == [1, 2]
    assert reader.read_new() == []
    assert reader.read_new(block_s=0.01) == []
    sink.deliver([record("run", 3)])
    ((prediction, stored),) = reader.read_new(block_s=1.0)
    assert prediction == sized("run", 3)
    assert abs(stored - time.time()) < 60
    reader.close()
