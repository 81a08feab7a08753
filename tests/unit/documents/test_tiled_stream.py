"""Runs come out of a real Tiled while they are written, whatever happens to the connection."""

import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from qd_agent.core.errors import BadFrame, Unavailable
from qd_agent.core.frame import FrameReference, RunClosed
from qd_agent.documents import RouterSettings, TiledStreamSettings, open_router, open_source
from qd_agent.documents.tiled_updates import Updates
from qd_agent.embedded import Endpoint
from tests.helpers.documents import RunOfDocuments, step_scan
from tests.helpers.forwarder import forwarding
from tests.helpers.servers import tiled_server
from tests.helpers.tiled import door, writing

__all__ = ["tiled_server"]

PATIENCE = 60.0


@pytest.fixture
def path(tiled_server, request) -> Path:
    """A file with ten frames that Tiled may read."""
    made = tiled_server.folder.parent / "readable" / f"{request.node.name}.h5"
    with h5py.File(made, "w") as file:
        file.create_dataset("entry/data/data", data=np.zeros((10, 8, 6), "<u4"), chunks=(1, 8, 6))
    return made


def opened(server, settings=None, **changes):
    settings = settings or TiledStreamSettings(kind="tiled")
    return open_source(settings, door(server, **changes))


def take_until(source, wanted):
    """Receive documents, through a router of our own, until a happening is what is wanted."""
    router, found, deadline = open_router(RouterSettings()), [], time.monotonic() + PATIENCE
    while not any(wanted(h) for h in found):
        assert time.monotonic() < deadline, (source.state, found)
        try:
            document = source.receive(0.2)
        except Unavailable:
            continue
        if document is not None:
            found += router.route(*document)
    return found


def wait_for(source, wanted):
    """Receive until `wanted` says so; give the documents."""
    found, deadline = [], time.monotonic() + PATIENCE
    while not wanted(found):
        assert time.monotonic() < deadline, (source.state, found)
        document = source.receive(0.05)
        found += [] if document is None else [document]
    return found


def frames(happenings):
    return [h for h in happenings if isinstance(h, FrameReference)]


def is_frame(number, run_uid):
    return lambda h: (
        isinstance(h, FrameReference) and (h.key.seq_num, h.key.run_uid) == (number, run_uid)
    )


def is_end_of(run_uid):
    return lambda h: isinstance(h, RunClosed) and h.run_uid == run_uid


def test_frames_come_while_the_run_goes_on_and_each_of_them_once(tiled_server, path):
    run = RunOfDocuments(uri=f"file://localhost{path}")
    source = opened(tiled_server)
    try:
        with writing(tiled_server) as write:
            run.declare()
            run.open_file()
            run.shot()
            for document in run.documents:
                write(*document)
            (first,) = frames(take_until(source, is_frame(1, run.uid)))
            assert first.readings == {"monitor": 1001.0, "temperature": 20.5}
            assert first.location.row == 0
            before = len(run.documents)
            run.shot()
            run.shot()
            for document in run.stop()[before:]:
                write(*document)
            received = wait_for(source, lambda docs: docs and docs[-1][0] == "stop")
        names = [name for name, _ in received]
        assert names.count("event") == 2, "the first one was given before"
        assert names.count("stream_datum") == 2
        assert source.state == "connected"
    finally:
        source.close()


def test_a_run_that_was_written_before_we_came_is_read_unless_its_books_are_whole(
    tiled_server, path
):
    documents = step_scan(3, uri=f"file://localhost{path}")
    run_uid = documents[0][1]["uid"]
    with writing(tiled_server) as write:
        for document in documents:
            write(*document)
    source = opened(tiled_server)
    found = take_until(source, is_end_of(run_uid))
    source.close()
    assert {f.key.seq_num for f in frames(found) if f.key.run_uid == run_uid} == {1, 2, 3}
    asked = []
    source = opened(tiled_server, is_whole=lambda uid: asked.append(uid) or True)
    wait_for(source, lambda _: source.state == "connected")
    while run_uid not in asked:
        assert source.receive(0.2) is None
    source.close()


def test_a_lost_connection_costs_no_frame_and_goes_on_at_the_next_update(tiled_server, path):
    run = RunOfDocuments(uri=f"file://localhost{path}")
    run.declare()
    run.open_file()
    run.shot()
    with forwarding(tiled_server.url) as (wire, url), writing(tiled_server) as write:
        source, server = opened(tiled_server, uri=url), wire.target
        for document in run.documents:
            write(*document)
        take_until(source, is_frame(1, run.uid))
        wire.cut()
        before = len(run.documents)
        run.shot()
        for document in run.stop()[before:]:
            write(*document)
        found = wait_for(source, lambda _: source.state == "connecting")
        wire.target = server
        found += wait_for(source, lambda _: source.state == "connected")
        if not any(name == "stop" for name, _ in found):
            found += wait_for(source, lambda docs: docs and docs[-1][0] == "stop")
        assert [doc["seq_num"] for name, doc in found if name == "event"] == [2]
        source.close()


def test_an_update_that_is_too_large_is_skipped_and_what_it_announces_is_read(tiled_server, path):
    run = RunOfDocuments(uri=f"file://localhost{path}", metadata={"long": "x" * 100_000})
    run.declare()
    run.open_file()
    run.shot()
    settings = TiledStreamSettings(kind="tiled", max_message_bytes=1 << 16, poll_s=1.0)
    source = opened(tiled_server, settings)
    wait_for(source, lambda _: source.state == "connected")
    with writing(tiled_server) as write:
        for document in run.stop():  # its last update is too large as well
            write(*document)
        small = step_scan(1, uri=f"file://localhost{path}")
        for document in small:
            write(*document)
        take_until(source, is_end_of(small[0][1]["uid"]))
    source.close()


def test_a_wrong_key_is_said(tiled_server):
    source = opened(tiled_server, headers={"Authorization": "Apikey 00"})
    deadline = time.monotonic() + PATIENCE
    while not source.state.startswith("refused: Tiled does not accept our key"):
        assert source.receive(0.05) is None
        assert time.monotonic() < deadline, source.state
    source.close()


def test_a_run_that_cannot_be_read_is_given_up_and_the_others_go_on(monkeypatch):
    monkeypatch.setattr("qd_agent.documents.tiled_stream.PAUSE_S", 0.001)

    def read(run_uid, _had):
        if run_uid == "broken":
            raise BadFrame("not laid out as Bluesky's runs are")
        return None if run_uid == "absent" else step_scan(1)

    monkeypatch.setattr(Updates, "run", lambda _self: None)
    source = opened(Endpoint("http://127.0.0.1:1/api/v1", "secret"), read=read)
    for run_uid in ("broken", "absent", "good"):
        source._woken.put(run_uid)
    received, refused, deadline = [], [], time.monotonic() + PATIENCE
    while len(refused) < 2 or not received or received[-1][0] != "stop":
        assert time.monotonic() < deadline
        try:
            document = source.receive(0.01)
        except BadFrame as error:
            refused.append(str(error))
        else:
            received += [] if document is None else [document]
    assert "not laid out" in "".join(refused)
    assert "there is no such run" in "".join(refused)
    source.close()
    source.close()
    with pytest.raises(Unavailable):
        source.receive(0.0)
