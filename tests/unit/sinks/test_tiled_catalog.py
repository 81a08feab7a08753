"""Predictions in a real Tiled: each once, in order, through every kind of trouble."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qd_agent.core.errors import Fatal, Unavailable
from qd_agent.core.frame import FrameKey, RunOpened
from qd_agent.core.pattern import PUBLISHED_GRID
from qd_agent.core.prediction import StoredFrame
from qd_agent.embedded import RunningServer
from qd_agent.sinks import RedisConnection, RedisSettings, TiledConnection, TiledSettings, open_sink
from qd_agent.sinks.checks import check_tiled
from qd_agent.sinks.reading import PredictionReader, stored_frames
from qd_agent.sinks.tiled_catalog import TiledSink
from tests.helpers.forwarder import forwarding
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
from tests.helpers.servers import running_tiled, tiled_client

Open = Callable[..., TiledSink]


def _connection(server: RunningServer) -> TiledConnection:
    return TiledConnection(server.url, server.secret)


@pytest.fixture
def run() -> str:
    return str(uuid.uuid4())


@pytest.fixture
def open_here(tiled_server: RunningServer) -> Iterator[Open]:
    sinks: list[TiledSink] = []

    def open_one(uri: str | None = None, **settings: object) -> TiledSink:
        connection = TiledConnection(uri or tiled_server.url, tiled_server.secret)
        sinks.append(open_sink(TiledSettings.model_validate(settings), connection))
        return sinks[-1]

    yield open_one
    for sink in sinks:
        sink.close()


@pytest.fixture
def root(tiled_server: RunningServer) -> Iterator[Any]:
    with tiled_client(tiled_server) as client:
        yield client


def _assert_rows(root: Any, run_uid: str, expected: list[int]) -> None:
    """The table has these frames, in this order, and the array their patterns."""
    node = root["qd_agent", run_uid]
    table = node["predictions"].read()
    assert table["seq_num"].tolist() == expected
    assert table["row"].tolist() == list(range(len(expected)))
    assert node["patterns"].read()[: len(expected), 0].tolist() == expected


def test_a_prediction_comes_back_as_it_went_in(open_here: Open, root: Any, run: str) -> None:
    sink = open_here()
    sink.open_run(opened(run, sample="PbS"), PROVENANCE)
    sink.deliver([record(run, 1), Record(refused(run, 2))])
    node = root["qd_agent", run]
    assert [spec.name for spec in node.specs] == ["QuantumDotSizing"]
    assert node.metadata["raw_run"] == {"uid": run, "path": ["raw", run]}
    assert node.metadata["provenance"]["model_sha256"] == PROVENANCE.model_sha256
    assert node.metadata["start"]["sample"] == "PbS"
    assert node.metadata["state"] == "open"
    first, second = node["predictions"].read().to_dict("records")
    given = sized(run, 1)
    assert first["diameter_nm"] == given.diameter_nm
    assert (first["interval_low_nm"], first["interval_high_nm"]) == given.interval_nm
    assert first["frame_time"] == given.frame_time
    assert first["flags"] == "no_monitor,dark_missing"
    assert first["latency_size_ms"] == 9.0
    assert (second["verdict"], second["reason"]) == ("bad_frame", "the frame cannot be read")
    assert np.isnan(second["diameter_nm"])
    patterns = node["patterns"].read()
    assert patterns.dtype == np.float32
    assert np.array_equal(patterns[0], pattern(1))
    assert np.isnan(patterns[1]).all()
    assert np.array_equal(node["q"].read(), PUBLISHED_GRID.values())


def test_what_is_delivered_again_is_not_stored_again(open_here: Open, root: Any, run: str) -> None:
    records = [record(run, n) for n in range(1, 8)]
    first = open_here(batch_rows=3)
    first.open_run(opened(run), PROVENANCE)
    first.deliver(records[:5])
    first.deliver(records)
    second = open_here()  # the agent after a restart
    second.open_run(opened(run), PROVENANCE)
    second.deliver(records)
    second.deliver([*records, *records, record(run, 8), record(run, 8)])
    second.close_run(closed(run), {"expected": 8})
    second.close_run(closed(run), {"expected": 8})
    _assert_rows(root, run, list(range(1, 9)))
    metadata = root["qd_agent", run].metadata
    assert metadata["state"] == "closed"
    assert metadata["account"] == {"expected": 8}
    assert metadata["raw_run"]["uid"] == run


def test_metadata_that_come_late_are_filled_in(open_here: Open, root: Any, run: str) -> None:
    sink = open_here()
    sink.open_run(RunOpened(run, 1.7e9, {}), PROVENANCE)
    sink.deliver([record(run, 1)])
    sink.open_run(opened(run, sample="PbS"), PROVENANCE)
    sink.open_run(RunOpened(run, 1.7e9, {}), PROVENANCE)
    metadata = root["qd_agent", run].metadata
    assert metadata["start"]["sample"] == "PbS"
    assert metadata["state"] == "open"


def test_a_frame_that_is_tried_anew_replaces_its_set_aside_record(
    open_here: Open, root: Any, run: str
) -> None:
    sink = open_here()
    bad = Record(refused(run, 2))
    sink.deliver([record(run, 1), bad, record(run, 3)])
    before = root["qd_agent", run]["predictions"].read()
    good = Record(sized(run, 2, revision=1), pattern(2))
    for _ in range(2):
        sink.deliver([good])
    again = open_here()
    again.deliver([good, record(run, 4)])
    _assert_rows(root, run, [1, 2, 3, 4])
    after = root["qd_agent", run]["predictions"].read()
    assert after["verdict"].tolist() == ["sized"] * 4
    assert after["revision"].tolist() == [0, 1, 0, 0]
    others = [0, 2]
    assert after.iloc[others].equals(before.iloc[others])


def test_tiled_says_what_it_holds(open_here: Open, run: str) -> None:
    sink, other = open_here(), open_here()
    assert sink.census([run]) == {run: -1}
    sink.open_run(opened(run), PROVENANCE)
    assert sink.census([run]) == {run: 0}
    other.deliver([record(run, 1), record(run, 2)])
    assert sink.census([run]) == {run: 2}
    assert sink.held(run) == {StoredFrame.of(record(run, n).prediction) for n in (1, 2)}


def test_runs_that_interleave_keep_their_own_rows(open_here: Open, root: Any) -> None:
    one, two = str(uuid.uuid4()), str(uuid.uuid4())
    sink = open_here()
    sink.deliver([record(uid, n) for n in (1, 2, 3) for uid in (one, two)])
    sink.deliver([record(one, 4)])
    _assert_rows(root, one, [1, 2, 3, 4])
    _assert_rows(root, two, [1, 2, 3])


def test_an_answer_that_is_lost_on_the_way_does_not_double_the_rows(
    open_here: Open, tiled_server: RunningServer, root: Any, run: str
) -> None:
    records = [record(run, n) for n in range(1, 7)]
    with forwarding(tiled_server.url) as (wire, uri):
        sink = open_here(uri)
        sink.deliver(records[:2])
        for request in (b"PATCH /api/v1/table/partition", b"PATCH /api/v1/array/full"):
            wire.lose_answer_to = request
            with pytest.raises(Unavailable, match="is away"):
                sink.deliver(records[:4] if b"table" in request else records)
        assert wire.lost == 2
        sink.deliver(records)
    _assert_rows(root, run, [1, 2, 3, 4, 5, 6])


def test_a_lost_answer_to_the_making_of_a_run_does_no_harm(
    open_here: Open, tiled_server: RunningServer, root: Any, run: str
) -> None:
    with forwarding(tiled_server.url) as (wire, uri):
        sink = open_here(uri)
        attempts = 0
        for _ in range(12):  # container, q, table: the answer to each creating request, in turn
            wire.lose_answer_to = b"POST /api/v1/metadata"
            attempts += 1
            try:
                sink.open_run(opened(run), PROVENANCE)
            except Unavailable:
                continue
            break
        assert wire.lost >= 3
        wire.lose_answer_to = None
        sink.deliver([record(run, 1)])
    _assert_rows(root, run, [1])
    assert attempts < 12


def test_two_agents_that_write_one_run_at_once_never_double_a_row(
    open_here: Open, root: Any, run: str
) -> None:
    records = [record(run, n) for n in range(1, 6)]
    first, second = open_here(), open_here()
    first.open_run(opened(run), PROVENANCE)
    second.open_run(opened(run), PROVENANCE)  # both believe that the table is empty
    first.deliver(records[:3])
    with pytest.raises(Unavailable):
        second.deliver(records[:3])  # the table refuses the row numbers
    second.deliver(records)
    with pytest.raises(Unavailable):
        first.deliver(records)
    first.deliver(records)
    _assert_rows(root, run, [1, 2, 3, 4, 5])


def test_an_array_that_ran_ahead_of_the_table_is_written_over_or_blanked(
    open_here: Open, root: Any, run: str
) -> None:
    sink = open_here()
    sink.deliver([record(run, 1)])
    patterns = root["qd_agent", run, "patterns"]
    stale = np.full((4, PUBLISHED_GRID.size), -7, np.float32)  # a write that was cut short
    patterns.patch(stale, offset=(1, 0), extend=True)
    again = open_here()
    again.deliver([record(run, 2), record(run, 3)])
    again.close_run(closed(run), {})
    _assert_rows(root, run, [1, 2, 3])
    assert np.isnan(root["qd_agent", run, "patterns"].read()[3:]).all()


def test_an_array_that_somebody_removed_is_made_again_with_blanks(
    open_here: Open, root: Any, run: str
) -> None:
    open_here().deliver([record(run, 1), record(run, 2)])
    root["qd_agent", run].delete_contents("patterns", external_only=False)
    open_here().deliver([record(run, n) for n in (1, 2, 3)])
    node = root["qd_agent", run]
    assert node["predictions"].read()["seq_num"].tolist() == [1, 2, 3]
    patterns = node["patterns"].read()
    assert np.isnan(patterns[:2]).all()
    assert np.array_equal(patterns[2], pattern(3))


def test_a_run_that_somebody_removed_under_us_is_made_again(
    open_here: Open, root: Any, run: str
) -> None:
    sink = open_here()
    sink.open_run(opened(run, sample="PbS"), PROVENANCE)
    sink.deliver([record(run, 1)])
    root["qd_agent"].delete_contents(run, recursive=True, external_only=False)
    with pytest.raises(Unavailable, match=r"does not find|has lost"):
        sink.deliver([record(run, 2)])
    sink.deliver([record(run, 2)])
    _assert_rows(root, run, [2])
    assert root["qd_agent", run].metadata["start"]["sample"] == "PbS"


def test_hostile_text_arrives(open_here: Open, root: Any, run: str) -> None:
    reason = "\"';--/*\r\n$(rm)\u202e\U0001f4a5" + "x" * 10_000
    key = FrameKey(run_uid=run, stream="'; DROP TABLE", data_key='\x00"%s', seq_num=1)
    odd = {"nan": float("nan"), "huge": 10**400, "bytes": b"\xff", "lone": "\ud800", "nul": "\x00"}
    records = [
        Record(refused(run, 1, reason, key=key, readings={"a\x00'": 1.5})),
        Record(refused(run, 2, "NUL \x00 in the middle")),
    ]
    for sink in (open_here(), open_here()):
        sink.open_run(opened(run, **odd), PROVENANCE)
        sink.deliver(records)
    first, second = root["qd_agent", run, "predictions"].read().to_dict("records")
    assert first["reason"] == reason
    assert first["stream"] == "'; DROP TABLE"
    assert second["reason"] == "NUL \ufffd in the middle"
    assert root["qd_agent", run].metadata["start"]["bytes"] == "1 bytes"


def test_a_uid_cannot_leave_its_container(
    open_here: Open, tiled_server: RunningServer, root: Any
) -> None:
    uids = ["..", "../../escape", "a/b", "a b?c#d%2F\x00", "x" * 128, "é" * 128]
    sink = open_here(container="hostile/uids")
    for uid in uids:
        sink.open_run(opened(uid), PROVENANCE)
        sink.deliver([record(uid, 1)])
        sink.close_run(closed(uid), {})
    runs = root["hostile", "uids"]
    assert len(runs) == len(uids)
    for node in runs.values():
        assert node["predictions"].read()["seq_num"].tolist() == [1]
    written = tiled_server.folder / "data"
    assert {path.name for path in written.iterdir()} <= {"hostile", "qd_agent", "readable"}
    assert not any(path.name == "escape" for path in tiled_server.folder.parent.rglob("escape"))


def test_a_server_stopped_in_the_middle_comes_back_to_the_same_records(tmp_path: Path) -> None:
    records = [record("run", n) for n in range(1, 31)]
    with running_tiled(tmp_path) as server, forwarding(server.url) as (wire, uri):
        sink = open_sink(TiledSettings(), TiledConnection(uri, server.secret))
        sink.open_run(opened("run"), PROVENANCE)
        sink.deliver(records[:10])
        wire.cut()
        for _ in range(2):
            with pytest.raises(Unavailable, match=f"Tiled at {uri} is away") as caught:
                sink.deliver(records)
            assert server.secret not in str(caught.value)
            assert caught.value.__cause__ is None
        with pytest.raises(Unavailable):
            sink.close_run(closed("run"), {})
        wire.target = int(server.url.split(":")[2].split("/")[0])
        sink.deliver(records)
        sink.close()
        os.kill(server.pid, signal.SIGKILL)  # and now for good, without a chance to tidy up
    with running_tiled(tmp_path) as server, tiled_client(server) as root:
        sink = open_sink(TiledSettings(), _connection(server))
        sink.deliver(records)
        sink.close_run(closed("run"), {"expected": 30})
        sink.close()
        _assert_rows(root, "run", list(range(1, 31)))


def test_no_tiled_at_the_address_is_unavailable_and_says_where() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{unused.getsockname()[1]}/api/v1"
        with pytest.raises(Unavailable, match=f"Tiled at {uri} is away") as caught:
            open_sink(TiledSettings(), TiledConnection(uri, "key"))
    assert "\n" not in str(caught.value)


def test_a_wrong_key_is_fatal_and_never_shown(tiled_server: RunningServer) -> None:
    wrong = "feedfacefeedfacefeedface"
    connection = TiledConnection(tiled_server.url, wrong)
    with pytest.raises(Fatal, match=r"refuses us.*check the API key") as caught:
        open_sink(TiledSettings(), connection)
    assert wrong[:8] not in str(caught.value) + repr(connection)


def test_no_key_at_all_is_fatal(
    tiled_server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TILED_API_KEY", raising=False)
    with pytest.raises(Fatal, match="API key"):
        open_sink(TiledSettings(), TiledConnection(tiled_server.url, None))


def test_a_pattern_of_another_grid_is_named(open_here: Open, run: str) -> None:
    odd = Record(sized(run, 1), np.zeros(100, np.float32))
    with pytest.raises(Fatal, match=r"a pattern of shape \(100,\) came"):
        open_here().deliver([odd])


def test_the_check_finds_the_container_and_reads_a_frame_back(
    tiled_server: RunningServer, root: Any, run: str
) -> None:
    connection = _connection(tiled_server)
    assert "runs under 'qd_agent'" in check_tiled(TiledSettings(), connection)
    root.create_container("readable").create_container(run).create_container("primary").write_array(
        np.zeros((2, 3, 4), np.uint16), key="detector"
    )
    line = check_tiled(TiledSettings(), connection, ("readable", run))
    assert line.endswith(f"read a frame of readable/{run}/primary/detector: (3, 4), uint16")
    with pytest.raises(Fatal, match="nothing at readable/nowhere: nowhere is not there"):
        check_tiled(TiledSettings(), connection, ("readable", "nowhere"))
    root["readable"].create_container("empty")
    with pytest.raises(Fatal, match="no image at readable/empty"):
        check_tiled(TiledSettings(), connection, ("readable", "empty"))


def test_tiled_and_redis_hold_the_same_frames(
    open_here: Open, tiled_server: RunningServer, redis_server: RunningServer, run: str
) -> None:
    records = [record(run, 1), Record(refused(run, 2)), record(run, 3)]
    place = RedisConnection(redis_server.url, redis_server.secret)
    live = open_sink(RedisSettings(), place)
    for sink in (live, open_here()):
        sink.deliver(records)
        sink.deliver(records)
    reader = PredictionReader(place)
    in_redis = [prediction.key for prediction, _ in reader.read_new()]
    assert in_redis == stored_frames(_connection(tiled_server), run)
    assert in_redis == [item.prediction.key for item in records]
    assert stored_frames(_connection(tiled_server), "no such run") == []
    reader.close()
    live.close()


@contextmanager
def _web_server(status: int, body: bytes) -> Iterator[str]:
    """A web server that is no Tiled and answers everything with the same."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/api/v1"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (200, Fatal, "no Tiled server; check tiled.uri"),
        (404, Unavailable, "404 Not Found; check tiled.uri"),
        (403, Fatal, "refuses us: 403 Forbidden; check the API key"),
        (503, Unavailable, "takes nothing now: 503 Service Unavailable"),
        (599, Unavailable, "takes nothing now: 599"),
        (418, Fatal, "refuses: 418"),
    ],
)
def test_what_is_no_tiled_is_told_from_one_that_is_away(
    status: int, error: type[Exception], words: str
) -> None:
    with (
        _web_server(status, b"<html>hello</html>") as uri,
        pytest.raises(error, match=re.escape(words)),
    ):
        open_sink(TiledSettings(), TiledConnection(uri, "key"))
