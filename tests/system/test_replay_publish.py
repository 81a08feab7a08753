"""A run out of the archive goes into Redis and Tiled once, also when the replay is killed."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter

import pytest

from tests.helpers.commands import qd_agent
from tests.helpers.rig import ROOT, free_port
from tests.helpers.servers import redis_client, running_redis, running_tiled, tiled_client

pytestmark = pytest.mark.system

FRAMES = 20
SOME = 8
"""Answers in Redis after which the replay is killed, by itself: nobody else is quick enough to do
so half way on any machine."""
AGENT = [str(ROOT / "tests" / "helpers" / "chaos_agent.py")]


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
    command += ["--drain", "300"]
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


def ended(arguments: list[str], chaos: str = "") -> subprocess.CompletedProcess[str]:
    """Let a replay run in a process of its own, to its end or to the one that `chaos` orders."""
    return subprocess.run(
        [sys.executable, "-P", *AGENT, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "QD_CHAOS": chaos},
    )


def finish(arguments: list[str]) -> list[dict[str, object]]:
    done = ended(arguments)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


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
        first = ended(command, f"Redis, published, not struck:{SOME}")
        assert first.returncode == -signal.SIGKILL, first.stderr
        before = published(client, run_uid)
        assert len(before) == SOME < FRAMES

        answers = finish(command)
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


def test_runs_that_are_sized_at_once_are_published_once_each(tmp_path, stores, monkeypatch):
    redis, tiled, folder = stores
    monkeypatch.setenv("REDIS_PASSWORD", redis.secret)
    monkeypatch.setenv("TILED_API_KEY", tiled.secret)
    run_uids = [take_a_run(folder, tiled), take_a_run(folder, tiled)]
    done = ended([*arguments(tmp_path, *stores), "--at-once", "2"])
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line)["key"] for line in done.stdout.splitlines()]
    frames = range(1, FRAMES + 1)
    assert [(key["run_uid"], key["seq_num"]) for key in answers] == [
        (run_uid, number) for run_uid in run_uids for number in frames
    ]
    with redis_client(redis) as client, tiled_client(tiled) as catalog:
        both = [json.loads(f[b"prediction"])["key"] for _, f in client.xrange("qd:predictions")]
        assert Counter((key["run_uid"], key["seq_num"]) for key in both) == dict.fromkeys(
            ((run_uid, number) for run_uid in run_uids for number in frames), 1
        )
        for run_uid in run_uids:
            rows = catalog["qd_agent"][run_uid]["predictions"].read()
            assert Counter(rows["seq_num"]) == dict.fromkeys(frames, 1)
            account = json.loads(client.hget(f"qd:run:{run_uid}", "account"))
            assert {account[name] for name in ("expected", "seen", "delivered")} == {FRAMES}
