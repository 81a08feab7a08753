"""Frames come faster than they can be sized: the newest go first, the rest follow, none is lost."""

from pathlib import Path

import h5py
import numpy as np
import psutil
import pytest

from tests.helpers.documents import RunOfDocuments
from tests.helpers.publisher import Publisher, publishing
from tests.helpers.rig import Log, Rig

pytestmark = pytest.mark.system

FLOOD, LIVE = 300, 10
PATIENCE = 900.0
GROWTH_MB = 60.0
"""Memory that the second half of a flood may cost, at most: what waits is on disk."""


@pytest.fixture
def publisher(rig: Rig):
    with publishing(rig.address) as made:
        yield made


def whole_run(path: Path, shape: tuple[int, int], frames: int) -> RunOfDocuments:
    """A run whose frames are all on disk, and all of its documents at once."""
    with h5py.File(path, "w") as file:
        images = np.random.default_rng(frames).poisson(50, (frames, *shape)).astype("<u4")
        file.create_dataset("entry/data/data", data=images, chunks=(1, *shape))
    run = RunOfDocuments(uri=path.as_uri(), shape=(1, *shape))
    run.declare()
    run.open_file()
    for _ in range(frames):
        run.shot()
    run.stop()
    return run


def test_a_flood_waits_on_disk_while_what_is_live_is_answered_first(rig: Rig, publisher: Publisher):
    shape = rig.calibrate()
    flood = whole_run(rig.beamline_folder / "flood.h5", shape, FLOOD)
    live = whole_run(rig.beamline_folder / "live.h5", shape, LIVE)
    agent = rig.start_agent(rig.config(router={"data_keys": ["det"]}))
    rig.wait_until_ready(agent)
    Log(agent)
    publisher.wait_for_subscriber()
    process = psutil.Process(agent.pid)
    publisher.send(flood.documents)
    assert len(rig.predictions(LIVE)) >= LIVE
    publisher.send(live.documents)
    half = rig.predictions(FLOOD // 2, PATIENCE)
    memory = process.memory_info().rss / 1e6
    with rig.redis() as redis:
        beat = redis.hgetall("qd:agent:test-agent")
    assert int(beat["open"]) > 0
    assert float(beat["behind_s"]) > 0.0
    found = rig.predictions(FLOOD + LIVE, PATIENCE)
    assert process.memory_info().rss / 1e6 < memory + GROWTH_MB
    keys = [(p["key"]["run_uid"], p["key"]["seq_num"]) for p in found]
    assert len(keys) == len(set(keys)) == FLOOD + LIVE
    places = [n for n, (run_uid, _) in enumerate(keys) if run_uid == live.uid]
    assert places[-1] < len(half), "what came last waited behind what came before"
    numbers = [number for run_uid, number in keys if run_uid == flood.uid]
    assert numbers[-1] < FLOOD // 2, "the oldest of the flood are answered last"
    rig.terminate_quietly(agent)
    assert agent.returncode == 0
