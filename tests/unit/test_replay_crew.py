"""Several processes size a replay: at once, to the same numbers, whoever of them is killed."""

import json
import multiprocessing
import os
import shutil
import signal
import sqlite3
import threading
import time
from contextlib import ExitStack, closing

import pytest
from structlog.testing import capture_logs

from qd_agent import replay_crew
from qd_agent.config import load_config
from qd_agent.core.errors import Fatal, Unavailable
from qd_agent.replay import Replay
from qd_agent.replay_crew import Crew
from qd_agent.replaying import Options, _size
from simulated_beamline import modes
from simulated_beamline.formats import FramesAs
from simulated_beamline.synthesis import Kinetics
from tests.helpers import workers
from tests.helpers.formats import FRAMES, scan
from tests.helpers.workers import PATIENCE_S, await_file

DIFFER = {"publication_time", "latency_ms"}


@pytest.fixture
def crew_of(monkeypatch):
    """Give a crew of workers that do what a test wants."""
    with ExitStack() as stack:

        def make(serve, order=None, count=2):
            monkeypatch.setattr(replay_crew, "serve", serve)
            return stack.enter_context(closing(Crew(order, count)))

        yield make


def test_two_runs_are_in_work_at_the_same_time(tmp_path, crew_of):
    crew = crew_of(workers.meeting, order=2)
    both = [crew.size(str(tmp_path / name)) for name in ("0", "1")]
    for run in both:  # each is done only when the other one has begun
        run.result(PATIENCE_S)
    assert len(multiprocessing.active_children()) == 2
    crew.size(str(tmp_path / "0")).result(PATIENCE_S)
    assert len(multiprocessing.active_children()) == 2, "the same process takes the next run"
    crew.close()
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize(
    ("number", "times"), [(signal.SIGKILL, 3), (signal.SIGSEGV, 6)], ids=["killed", "crashed"]
)
def test_a_run_whose_workers_are_lost_again_and_again_is_given_up(tmp_path, crew_of, number, times):
    crew = crew_of(workers.killed, order=number)
    with capture_logs() as said, pytest.raises(Fatal, match="smaller --at-once"):
        crew.size(str(tmp_path / "run")).result(PATIENCE_S)
    assert (tmp_path / "run").read_text() == "x" * times
    assert [line["signal"] for line in said] == [number.name] * (times - 1)


def test_losses_between_which_frames_are_answered_do_not_add_up(tmp_path, crew_of):
    crew = crew_of(workers.killed_after_an_answer, order=signal.SIGKILL)
    crew.size(str(tmp_path / "run")).result(PATIENCE_S)
    assert (tmp_path / "run").read_text() == "x" * 6


def test_what_a_worker_cannot_mend_ends_the_replay(tmp_path, crew_of):
    with pytest.raises(Fatal, match="the disk is full"):
        crew_of(workers.failing).size(str(tmp_path / "run")).result(PATIENCE_S)
    with pytest.raises(Fatal, match="an error of its own"):
        crew_of(workers.mistaken).size(str(tmp_path / "run")).result(PATIENCE_S)


@pytest.mark.parametrize("hears", [True, False])
def test_a_crew_that_is_closed_leaves_no_process_behind(tmp_path, crew_of, monkeypatch, hears):
    monkeypatch.setattr(replay_crew, "STOP_S", PATIENCE_S if hears else 0.5)
    crew = crew_of(workers.endless, order=hears)
    begun = [crew.size(str(tmp_path / str(n))) for n in range(2)]
    waiting = crew.size(str(tmp_path / "never"))
    for number in range(2):
        await_file(tmp_path / str(number))
    crew.close()
    assert multiprocessing.active_children() == []
    for run in begun:
        with pytest.raises(Unavailable, match="stopped"):
            run.result(PATIENCE_S)
    assert waiting.cancelled()
    assert not (tmp_path / "never").exists()


# -- with frames ---------------------------------------------------------------------------


class Shelf:
    """Runs of the past, held in memory."""

    def __init__(self, runs):
        self.runs = {run[0][1]["uid"]: list(run) for run in runs}

    def documents(self, run_uid):
        return self.runs.get(run_uid)

    def archive(self):
        return None


@pytest.fixture
def shelf(tmp_path):
    """A configuration, three runs, and the folder of their frames."""
    frames = tmp_path / "frames"
    frames.mkdir()
    request = modes.growth(modes.Common(frames, binning=4), Kinetics(), FRAMES, 60.0)
    runs = []
    for number in range(3):
        folder = frames / str(number)
        folder.mkdir()
        runs.append(scan(request, folder, FramesAs.HDF5)[0])
    shutil.copytree(frames, tmp_path / "away")  # PONI and mask stay where they are
    for number in range(3):
        shutil.rmtree(frames / str(number))
    tree = {
        "data": str(tmp_path / "agent"),
        "router": {"data_keys": ["detector"]},
        "frames": {
            "allowed_roots": [str(frames)],
            "deadline_s": 0.2,
            "retry_delays_s": [0.1],
            "tries_after_stop": 1000,
        },
        "reduction": {
            "poni": str(frames / "detector.poni"),
            "mask": str(frames / "mask.npy"),
            "monitor_key": "monitor",
        },
    }
    (tmp_path / "agent.yaml").write_text(json.dumps(tree))
    return load_config(tmp_path / "agent.yaml"), Shelf(runs), frames


def tried(data) -> set[str]:
    """Give the runs of which a worker has tried a frame, as the books say."""
    (path,) = (data / "replay").glob("kept-*.sqlite")
    with closing(sqlite3.connect(path)) as db:
        return {uid for (uid,) in db.execute("SELECT DISTINCT run_uid FROM frames WHERE tries > 0")}


def bring(frames) -> None:
    shutil.copytree(frames.parent / "away", frames, dirs_exist_ok=True)


def test_runs_sized_at_once_have_the_numbers_of_one_after_the_other_also_when_a_worker_is_killed(
    tmp_path, shelf
):
    config, past, frames = shelf
    uids = list(past.runs)
    ran = threading.Event()
    found = []

    def once_two_are_in_work():
        """Frames are away until two runs were tried, neither of which can have ended then."""
        deadline = time.monotonic() + PATIENCE_S
        while not ran.is_set() and time.monotonic() < deadline:
            if not list(config.data.glob("replay/kept-*.sqlite")):
                continue
            if len(tried(config.data)) == 2:
                found.append(tried(config.data))
                os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
                break
            ran.wait(0.05)
        bring(frames)

    watcher = threading.Thread(target=once_two_are_in_work)
    with ExitStack() as stack, capture_logs() as said:
        replaying = Replay(config, stack)
        watcher.start()
        try:
            assert _size(replaying, past, uids, 2) == []
        finally:
            ran.set()
            watcher.join()
        at_once = [p.model_dump(exclude=DIFFER) for p in replaying.predictions(uids)]
    assert found == [set(uids[:2])]
    lost = [line for line in said if "worker lost" in line["event"]]
    assert [line["signal"] for line in lost] == ["SIGKILL"]
    assert multiprocessing.active_children() == []

    alone = config.model_copy(update={"data": tmp_path / "alone"})
    with ExitStack() as stack:
        replaying = Replay(alone, stack)
        assert _size(replaying, past, [*uids, "no-such-run"], 1) == ["run no-such-run is not there"]
        one_by_one = [p.model_dump(exclude=DIFFER) for p in replaying.predictions(uids)]
    assert len(at_once) == 3 * FRAMES
    assert at_once == one_by_one
    assert {p["verdict"] for p in at_once} != {"bad_frame"}


def test_as_many_runs_are_sized_at_once_as_there_are_cores_but_not_very_many(monkeypatch):
    for cores, expected in ((1, 1), (2, 2), (64, 4)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, n=cores: set(range(n)))
        assert Options(None).most == expected
        assert Options(None, at_once=7).most == 7
