"""Files that come late: frames wait for them, and the agent ends at once all the same."""

import signal
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.helpers.documents import RunOfDocuments
from tests.helpers.publisher import Publisher, publishing
from tests.helpers.rig import Rig, read_until

pytestmark = pytest.mark.system


@pytest.fixture
def publisher(rig: Rig):
    with publishing(rig.address) as made:
        yield made


def frames_settings(**changes: object) -> dict[str, object]:
    return {"allowed_roots": ["beamline"], "retry_delays_s": [0.2], **changes}


def announced(path: Path, shape: tuple[int, int], frames: int) -> RunOfDocuments:
    """A run whose frames are announced and whose file is not there yet."""
    run = RunOfDocuments(uri=path.as_uri(), shape=(1, *shape))
    run.declare()
    run.open_file()
    for _ in range(frames):
        run.shot()
    return run


def test_a_file_that_appears_long_after_its_frames_were_announced_is_sized(
    rig: Rig, publisher: Publisher
):
    shape, path = rig.calibrate(), rig.beamline_folder / "late.h5"
    frames = frames_settings(deadline_s=0.2, tries_after_stop=1000)
    agent = rig.start_agent(rig.config(frames=frames, router={"data_keys": ["det"]}))
    rig.wait_until_ready(agent)
    publisher.wait_for_subscriber()
    run = announced(path, shape, frames=3)
    publisher.send(run.documents)
    read_until(agent, lambda line: "frame is away" in line)
    before = len(run.documents)
    publisher.send(run.stop()[before:])
    read_until(agent, lambda line: "run closed" in line)
    part = path.with_suffix(".part")
    with h5py.File(part, "w") as file:
        images = np.random.default_rng(0).poisson(50, (3, *shape)).astype("<u4")
        file.create_dataset("entry/data/data", data=images)
    part.rename(path)
    found = rig.predictions(3)
    assert sorted(p["key"]["seq_num"] for p in found) == [1, 2, 3]
    assert {p["verdict"] for p in found} & {"bad_frame"} == set(), found[0]["reason"]
    rig.terminate(agent)
    assert agent.returncode == 0


def test_an_agent_that_waits_for_a_file_ends_within_five_seconds_and_keeps_the_frame(
    rig: Rig, publisher: Publisher
):
    shape, path = rig.calibrate(), rig.beamline_folder / "never.h5"
    frames = frames_settings(deadline_s=600.0)
    config = rig.config(frames=frames, router={"data_keys": ["det"]})
    agent = rig.start_agent(config)
    rig.wait_until_ready(agent)
    for _ in ("Redis", "Tiled"):  # that connecting to them takes long is not what is timed here
        read_until(agent, lambda line: "sink is up" in line)
    publisher.wait_for_subscriber()
    publisher.send(announced(path, shape, frames=2).documents)
    publisher.send_nonsense()
    heard = read_until(agent, lambda line: "message refused" in line)
    if not any("run opened" in line for line in heard):
        read_until(agent, lambda line: "run opened" in line)
    started = time.monotonic()
    agent.send_signal(signal.SIGTERM)
    text = agent.communicate(timeout=20)[1]
    assert agent.returncode == 0, text
    assert time.monotonic() - started < 5.0
    assert "Traceback" not in text
    again = rig.start_agent(config)
    lines = rig.wait_until_ready(again)
    lines += read_until(again, lambda line: "has left frames" in line)
    assert "frames=2" in lines[-1]
    rig.terminate(again)


def test_a_disk_that_goes_ends_the_agent_and_its_frames_wait_for_the_next(
    rig: Rig, publisher: Publisher
):
    shape = rig.calibrate()
    disk, unplugged = rig.beamline_folder / "disk", rig.beamline_folder / "unplugged"
    disk.mkdir()
    with h5py.File(disk / "scan.h5", "w") as file:
        images = np.random.default_rng(0).poisson(50, (4, *shape)).astype("<u4")
        file.create_dataset("entry/data/data", data=images)
    frames = frames_settings(
        allowed_roots=["beamline/disk"], deadline_s=0.2, storage_patience_s=1.0
    )
    config = rig.config(frames=frames, router={"data_keys": ["det"]})
    agent = rig.start_agent(config)
    rig.wait_until_ready(agent)
    publisher.wait_for_subscriber()
    disk.rename(unplugged)
    publisher.send(announced(disk / "scan.h5", shape, frames=4).stop())
    *_, last = agent.communicate(timeout=120)[1].splitlines()
    assert agent.returncode == 1
    assert last.startswith("qd-agent: the folder")
    assert "of frames.allowed_roots is away: No such file or directory" in last
    assert "the frames wait in the ledger" in last
    unplugged.rename(disk)
    agent = rig.start_agent(config)
    rig.wait_until_ready(agent)
    found = rig.predictions(4)
    assert sorted(p["key"]["seq_num"] for p in found) == [1, 2, 3, 4]
    assert {p["verdict"] for p in found} & {"bad_frame"} == set(), found[0]["reason"]
    rig.terminate(agent)
    assert agent.returncode == 0
