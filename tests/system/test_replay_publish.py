"""A run out of the archive goes into Redis and Tiled once, also when the replay is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from tests.helpers.commands import qd_agent
from tests.helpers.rig import ROOT, free_port
from tests.helpers.servers import redis_client, running_redis, running_tiled, tiled_client

pytestmark = pytest.mark.system

FRAMES = 20
SOME = 3
"""Answers in Redis after which the replay is killed."""


@pytest.fixture
def stores(tmp_path):
    """A Redis, a Tiled that may read the beamline's folder, and that folder."""
    folder = tmp_path / "beamline"
    folder.mkdir()
    with (
        running_redis(tmp_path / "redis") as redis,
        running_tiled(tmp_path / "tiled", [folder]) as tiled,
    ):
        yield redis, tiled, folder


def take_a_run(folder, tiled) -> str:
    """Let a beamline take a fly scan into Tiled; give its uid."""
    command = [sys.executable, "-W", "ignore", "-m", "simulated_beamline", "growth"]
    command += ["--frames", str(FRAMES), "--rate", "50", "--frames-as", "fly", "--binning", "4"]
    command += ["--zmq", f"tcp://127.0.0.1:{free_port()}", "--output", str(folder)]
    command += ["--tiled-uri", tiled.url, "--json", str(folder / "account.json")]
    environment = {**os.environ, "TILED_API_KEY": tiled.secret}
    subprocess.run(command, check=True, cwd=ROOT, env=environment, capture_output=True)
    (run_uid,) = json.loads((folder / "account.json").read_text())["run_uids"]
    return run_uid


def arguments(tmp_path, redis, tiled, folder) -> list[str]:
    """Write the configuration of a replay of all runs in Tiled; give the command's arguments."""
    tree = {
        "data": "agent",
        "router": {"data_keys": ["detector"]},
        "frames": {"allowed_roots": [str(folder)]},
        "reduction": {"poni": str(folder / "detector.poni"), "mask": str(folder / "mask.npy")},
        "redis": {"url": redis.url, "password_env": "REDIS_PASSWORD"},
        "tiled": {"uri": tiled.url},
    }
    config = tmp_path / "last-year.yaml"
    config.write_text(json.dumps(tree))
    return ["replay", "tiled", "--config", str(config), "--publish", "--json"]


def start(arguments: list[str]) -> subprocess.Popen[str]:
    """Start a replay in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "qd_agent", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def finish(process: subprocess.Popen[str]) -> list[dict[str, object]]:
    said, trouble = process.communicate(timeout=120)
    assert process.returncode == 0, trouble
    return [json.loads(line) for line in said.splitlines()]


def wait_for_some(client, run_uid: str) -> None:
    """Wait until some answers of a run are in Redis, blocking on Redis itself."""
    stream, last, deadline = f"qd:run:{run_uid}:predictions", "0-0", time.monotonic() + 90
    while client.xlen(stream) < SOME:
        assert time.monotonic() < deadline
        client.xread({stream: last}, block=500)


def published(client, run_uid: str) -> list[tuple[int, float]]:
    """Give number and time of publication of every entry of a run in Redis, as both streams say."""
    runs = [
        [json.loads(fields[b"prediction"]) for _, fields in client.xrange(stream)]
        for stream in (f"qd:run:{run_uid}:predictions", "qd:predictions")
    ]
    own, everybodys = [
        [(found["key"]["seq_num"], found["publication_time"]) for found in run] for run in runs
    ]
    assert own == everybodys
    return sorted(own)


def test_a_replay_that_was_killed_half_way_goes_on_and_publishes_each_frame_once(
    tmp_path, stores, monkeypatch
):
    redis, tiled, folder = stores
    monkeypatch.setenv("REDIS_PASSWORD", redis.secret)
    monkeypatch.setenv("TILED_API_KEY", tiled.secret)
    command = arguments(tmp_path, *stores)
    run_uid = take_a_run(folder, tiled)
    with redis_client(redis) as client, tiled_client(tiled) as catalog:
        first = start(command)
        wait_for_some(client, run_uid)
        first.send_signal(signal.SIGKILL)
        first.communicate()
        before = published(client, run_uid)
        assert SOME <= len(before) < FRAMES

        answers = finish(start(command))
        assert sorted(a["key"]["seq_num"] for a in answers) == list(range(1, FRAMES + 1))
        after = published(client, run_uid)
        assert [number for number, _ in after] == list(range(1, FRAMES + 1))
        assert set(before) <= set(after), "what was published is not sized again"
        again = [json.loads(line) for line in qd_agent(*command).splitlines()]
        assert again == answers
        assert published(client, run_uid) == after

        node = catalog["qd_agent"][run_uid]
        assert Counter(node["predictions"].read()["seq_num"]) == dict.fromkeys(
            range(1, FRAMES + 1), 1
        )
        assert node["patterns"].shape[0] == FRAMES
        account = json.loads(client.hget(f"qd:run:{run_uid}", "account"))
    assert {account[name] for name in ("expected", "seen", "delivered")} == {FRAMES}
