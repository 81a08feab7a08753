"""The books agree with the world again, whatever was missed, emptied or set aside."""

import json
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.helpers.commands import ended
from tests.helpers.documents import RunOfDocuments
from tests.helpers.publisher import Publisher, publishing
from tests.helpers.rig import Rig, read_until
from tests.helpers.servers import running_tiled, tiled_client

pytestmark = pytest.mark.system
ROUTER = {"data_keys": ["det"]}


@pytest.fixture
def publisher(rig: Rig):
    with publishing(rig.address) as made:
        yield made


def qd(*arguments: object) -> str:
    done = ended(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def taken(
    path: Path, shape: tuple[int, int], frames: int, blank: int = 0, **options: float
) -> RunOfDocuments:
    """A run and its file; frame number `blank` is all zero."""
    images = np.random.default_rng(0).poisson(50, (frames, *shape)).astype("<u4")
    if blank:
        images[blank - 1] = 0
    with h5py.File(path, "w") as file:
        file.create_dataset("entry/data/data", data=images, chunks=(1, *shape))
    run = RunOfDocuments(uri=f"file://localhost{path}", shape=(1, *shape), **options)
    run.declare()
    run.open_file()
    for _ in range(frames):
        run.shot()
    run.stop()
    return run


def test_a_run_whose_end_was_missed_is_closed_by_tiled_without_an_agent(
    rig: Rig, publisher: Publisher
):
    from bluesky_tiled_plugins import TiledWriter
    from tiled.structures.core import Spec

    shape = rig.calibrate()
    run = taken(rig.beamline_folder / "run.h5", shape, frames=6)
    with running_tiled(rig.folder / "tiled", [rig.beamline_folder]) as server:
        (rig.folder / "key").write_text(server.secret)
        tiled = {"uri": server.url, "api_key_file": "key"}
        config = rig.config(router=ROUTER, tiled=tiled)
        agent = rig.start_agent(config)
        rig.wait_until_ready(agent)
        publisher.wait_for_subscriber()
        publisher.send(run.documents[:7])  # two frames
        assert len(rig.predictions(2)) == 2
        agent.kill()
        agent.communicate()
        before = json.loads(qd("runs", str(config), "--json"))
        assert [(r["state"], r["seen"]) for r in before] == [("open", 2)]
        with tiled_client(server) as client:
            raw = client.create_container("raw", specs=[Spec("CatalogOfBlueskyRuns", "3.0")])
            writer = TiledWriter(raw, batch_size=1)
            for name, doc in run.documents:
                writer(name, dict(doc))
        text = qd("reconcile", str(config), "--run", run.uid[:8])
        assert "4 frames found, 1 runs closed" in text
        (after,) = json.loads(qd("runs", str(config), "--json"))
        assert (after["state"], after["expected"], after["seen"]) == ("closed", 6, 6)
        assert (after["missing"], after["open"]) == (0, 0)
        assert after["delivered"] == {"redis": 6, "tiled": 6}
        with tiled_client(server) as client:
            node = client["qd_agent", run.uid]
            assert sorted(node["predictions"].read()["seq_num"]) == [1, 2, 3, 4, 5, 6]
            assert node.metadata["account"]["expected"] == 6


def test_runs_that_nobody_announced_or_only_by_events_are_found_by_the_agent_itself(
    rig: Rig, publisher: Publisher
):
    from bluesky_tiled_plugins import TiledWriter
    from tiled.structures.core import Spec

    shape, now = rig.calibrate(), time.time()
    old = taken(rig.beamline_folder / "old.h5", shape, frames=2, time=now - 86400.0)
    silent = taken(rig.beamline_folder / "silent.h5", shape, frames=3, time=now - 60.0)
    half = taken(rig.beamline_folder / "half.h5", shape, frames=4, time=now - 50.0)
    with running_tiled(rig.folder / "tiled", [rig.beamline_folder]) as server:
        (rig.folder / "key").write_text(server.secret)
        tiled = {"uri": server.url, "api_key_file": "key"}
        with tiled_client(server) as client:
            raw = client.create_container("raw", specs=[Spec("CatalogOfBlueskyRuns", "3.0")])
            for run in (old, silent):
                writer = TiledWriter(raw, batch_size=100)
                for name, doc in run.documents:
                    writer(name, dict(doc))
            config = rig.config(router=ROUTER, tiled=tiled, reconcile={"find_every_s": 3600.0})
            agent = rig.start_agent(config)
            rig.wait_until_ready(agent)
            found = rig.predictions(3)
            assert {p["key"]["run_uid"] for p in found} == {silent.uid}, "the old one is left alone"
            writer = TiledWriter(raw, batch_size=100)
            for name, doc in half.documents:
                writer(name, dict(doc))
            publisher.wait_for_subscriber()
            publisher.send([d for d in half.documents if d[0] == "event"])
            found = rig.predictions(7)
            assert sorted((p["key"]["run_uid"], p["key"]["seq_num"]) for p in found) == sorted(
                [(silent.uid, n) for n in (1, 2, 3)] + [(half.uid, n) for n in (1, 2, 3, 4)]
            )
            assert all(p["readings"] for p in found), "Tiled has the readings too"
            books = json.loads(qd("runs", str(config), "--json"))
            assert [(r["uid"], r["state"], r["missing"]) for r in books] == [
                (silent.uid, "closed", 0),
                (half.uid, "closed", 0),
            ]
        rig.terminate(agent)
        assert agent.returncode == 0


def test_an_emptied_redis_is_filled_and_a_retried_frame_replaces_its_record(
    rig: Rig, publisher: Publisher
):
    path = rig.beamline_folder / "run.h5"
    run = taken(path, rig.calibrate(), frames=3, blank=2)
    config = rig.config(router=ROUTER)
    agent = rig.start_agent(config)
    rig.wait_until_ready(agent)
    publisher.wait_for_subscriber()
    publisher.send(run.documents)
    rig.tiled_rows(run.uid, 3)
    assert {p["key"]["seq_num"] for p in rig.predictions(3) if p["verdict"] == "bad_frame"} == {2}

    client = rig.redis()
    client.flushall()
    read_until(agent, lambda line: "sink has lost predictions" in line)
    assert sorted(p["key"]["seq_num"] for p in rig.predictions(3)) == [1, 2, 3]
    wait_until(lambda: client.hget(f"qd:run:{run.uid}", "state") == "closed")
    account = json.loads(client.hget(f"qd:run:{run.uid}", "account"))
    assert account["set_aside"] == 1

    with h5py.File(path, "r+") as file:
        file["entry/data/data"][1] = file["entry/data/data"][0]
    assert "frame 2" in qd("set-aside", "list", str(config))
    assert "the running agent takes them up" in qd("set-aside", "retry", str(config))
    wait_until(
        lambda: [p["verdict"] == "bad_frame" for p in rig.predictions(3)] == [False, False, False]
    )
    assert sorted(p["key"]["seq_num"] for p in rig.predictions(4, patience=1.0)) == [1, 2, 3]

    def stored() -> bool:
        rows = rig.tiled_rows(run.uid, 3)
        return sorted(rows["seq_num"]) == [1, 2, 3] and "bad_frame" not in set(rows["verdict"])

    wait_until(stored)
    assert "no frame is set aside" in qd("set-aside", "list", str(config))
    text = qd("reconcile", str(config))
    assert "redis: complete, tiled: complete" in text
    (record,) = json.loads(qd("runs", str(config), "--json"))
    assert (record["set_aside"], record["missing"], record["open"]) == (0, 0, 0)
    client.close()
    rig.terminate(agent)
    assert agent.returncode == 0


def wait_until(true, patience: float = 120.0) -> None:
    deadline = time.monotonic() + patience
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.2)
