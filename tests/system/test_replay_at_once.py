"""A replay by several processes, stopped half way as one stops it, goes on where it was."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import psutil
import pytest

from tests.helpers.recordings import FOLDER, check, summary, tree
from tests.helpers.rig import ROOT

pytestmark = pytest.mark.system

PATIENCE_S = 120.0


@pytest.fixture
def command(tmp_path):
    """A replay of a recording whose frames are away until somebody brings them."""
    configuration = tree("images", FOLDER / "images", tmp_path / "data")
    frames = {"deadline_s": 0.2, "retry_delays_s": [0.1], "tries_after_stop": 1000}
    frames["allowed_roots"] = [str(tmp_path / "files")]
    frames["path_map"] = {"/beamline": str(tmp_path / "files")}
    (tmp_path / "agent.yaml").write_text(json.dumps({**configuration, "frames": frames}))
    command = [sys.executable, "-P", "-m", "qd_agent", "replay", str(FOLDER / "images/runs.jsonl")]
    return [*command, "--config", str(tmp_path / "agent.yaml"), "--json", "--at-once", "2"]


def await_two_runs_in_work(data) -> None:
    """Wait until frames of two runs were tried, as the books say."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        assert time.monotonic() < deadline
        time.sleep(0.05)
        for path in data.glob("replay/kept-*.sqlite"):
            with closing(sqlite3.connect(path)) as db:
                try:
                    found = db.execute("SELECT DISTINCT run_uid FROM frames WHERE tries > 0")
                    if len(found.fetchall()) == 2:
                        return
                except sqlite3.OperationalError:
                    pass  # the tables are being made


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_its_workers_and_what_was_left_is_sized_by_the_same_command(
    tmp_path, command, number
):
    replay = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        start_new_session=True,
    )  # fmt: skip
    await_two_runs_in_work(tmp_path / "data")
    workers = psutil.Process(replay.pid).children()
    assert len([w for w in workers if "spawn_main" in " ".join(w.cmdline())]) == 2
    if number == signal.SIGINT:
        os.killpg(replay.pid, number)  # as the terminal does: everybody hears of it
    else:
        replay.send_signal(number)
    out, said = replay.communicate(timeout=PATIENCE_S)
    assert psutil.wait_procs(workers, timeout=PATIENCE_S)[1] == [], "none is left behind"
    assert out == ""
    if number == signal.SIGKILL:
        return
    assert replay.returncode == 128 + number
    lines = [line for line in said.splitlines() if "event=" not in line]
    assert lines[-1] == "qd-agent: stopped; the same command goes on from there"
    assert "Traceback" not in said
    if number == signal.SIGTERM:
        return

    shutil.copytree(FOLDER / "images", tmp_path / "files")
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    found = done.stdout.replace(str(FOLDER / "images"), "/beamline").splitlines()
    check(summary(json.loads(line) for line in found), "images")
    again = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert again.stdout == done.stdout, "and in the same order"
