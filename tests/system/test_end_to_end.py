"""RunEngine, ZMQ, agent, Redis and Tiled as separate processes; results read with plain clients."""

import json
import math
import time
from pathlib import Path

import psutil
import pytest

from tests.helpers.commands import ended, qd_agent
from tests.helpers.rig import Rig

pytestmark = pytest.mark.system


def growth(frames: int, rate: float = 2.0) -> list[str]:
    return ["growth", "--frames", str(frames), "--rate", str(rate)]


def test_every_frame_of_a_synthesis_is_in_redis_and_in_tiled_once(rig: Rig):
    rig.forks, rig.own_tiled = False, True  # as a user starts them, from the first import on
    agent, beamline = rig.start_both(*growth(14))
    assert beamline.wait(timeout=180) == 0, beamline.communicate()[1]
    truth = {line["seq_num"]: line for line in rig.truth()}
    (run_uid,) = {line["run_uid"] for line in truth.values()}

    found = rig.predictions(14)
    assert sorted(p["key"]["seq_num"] for p in found) == list(range(1, 15))
    assert {p["key"]["run_uid"] for p in found} == {run_uid}
    for prediction in found:
        solvent = not truth[prediction["key"]["seq_num"]]["nanocrystal_fraction"]
        if solvent:
            assert prediction["verdict"] != "sized", "a size for pure solvent"
            assert prediction["diameter_nm"] is None
        if prediction["verdict"] != "sized":
            assert prediction["reason"]
    last = max(found, key=lambda p: p["key"]["seq_num"])
    assert last["verdict"] == "sized"
    assert abs(last["diameter_nm"] - truth[14]["diameter_nm"]) < 0.5
    assert set(last["readings"]) >= {"monitor", "reactor_temperature"}
    assert last["provenance"]["dark_hash"], "the darks of the run were subtracted"

    rows = rig.tiled_rows(run_uid, 14)
    assert sorted(rows["seq_num"]) == list(range(1, 15))
    by_number = rows.set_index("seq_num")["diameter_nm"]
    for prediction in found:
        stored = by_number[prediction["key"]["seq_num"]]
        assert math.isnan(stored) == (prediction["diameter_nm"] is None)
        if prediction["diameter_nm"] is not None:
            assert stored == pytest.approx(prediction["diameter_nm"])

    client = rig.redis()
    assert client.xlen(f"qd:run:{run_uid}:predictions") == 14
    assert client.zscore("qd:runs", run_uid) is not None
    client.close()
    tiled = rig.tiled()
    node = tiled["qd_agent"][run_uid]
    assert [spec.name for spec in node.specs] == ["QuantumDotSizing"]
    assert node["patterns"].shape == (14, node["q"].shape[0])
    tiled.context.close()

    text = rig.terminate(agent)
    assert agent.returncode == 0, text
    assert "Traceback" not in text


def test_embedded_servers_end_with_the_agent_and_their_secrets_are_in_no_command_line(rig: Rig):
    rig.own_tiled = True
    agent, beamline = rig.start_both(*growth(1), "--binning", "4")
    beamline.wait(timeout=120)
    assert len(rig.predictions(1)) == 1
    family = psutil.Process(agent.pid).children(recursive=True)
    assert len(family) >= 2
    secrets = [rig._endpoint(server)["secret"] for server in ("redis", "tiled")]
    lines = [" ".join(process.cmdline()) for process in family]
    assert not [line for line in lines for secret in secrets if secret in line]
    text = rig.terminate(agent)
    assert agent.returncode == 0, text
    _, alive = psutil.wait_procs(family, timeout=60)
    assert alive == []
    assert not [secret for secret in secrets if secret in text]


def test_status_shows_the_agent_while_it_lives(rig: Rig):
    agent, beamline = rig.start_both(*growth(2), "--binning", "4")
    beamline.wait(timeout=120)
    assert len(rig.predictions(2)) == 2
    command = ("status", rig.folder / "agent.yaml")
    deadline = time.monotonic() + 120  # a look takes seconds, on a slow machine ten
    while True:  # the heartbeat comes every two seconds
        done = ended(*command, "--json")
        agents = json.loads(done.stdout) if done.returncode == 0 else []
        known = [(agent["seen"], agent["sink_tiled"]) for agent in agents]
        if known == [("2", "up")] or time.monotonic() > deadline:
            break
    assert done.returncode == 0, done.stderr
    assert agents[0]["agent_id"] == "test-agent"
    assert known == [("2", "up")]
    shown = ended(*command)
    assert "2 seen" in shown.stdout
    rig.terminate(agent)
    gone = ended(*command)
    assert gone.returncode == 2
    assert "is the agent up?" in gone.stderr


def test_measured_patterns_as_frames_agree_with_their_files(rig: Rig, reference: Path):
    folder = reference / "patterns_measured"
    files = sorted(folder.iterdir())
    agent, beamline = rig.start_both("patterns", str(folder), "--rate", "1", "--darks", "2")
    assert beamline.wait(timeout=120) == 0, beamline.communicate()[1]
    found = {p["key"]["seq_num"]: p for p in rig.predictions(len(files))}
    names = {line["seq_num"]: line["file"] for line in rig.truth()}
    assert sorted(names.values()) == [file.name for file in files]
    said = qd_agent("size", "--json", *files).splitlines()
    by_file = {Path(a["path"]).name: a for a in map(json.loads, said)}
    for number, name in names.items():
        streamed, direct = found[number], by_file[name]
        print(name, streamed["verdict"], streamed["diameter_nm"], direct["diameter_nm"])  # noqa: T201
        assert streamed["verdict"] == direct["verdict"], name
        if direct["diameter_nm"] is not None:
            assert abs(streamed["diameter_nm"] - direct["diameter_nm"]) <= 0.1, name
    (run_uid,) = {p["key"]["run_uid"] for p in found.values()}
    assert len(rig.tiled_rows(run_uid, len(files))) == len(files)
    rig.terminate(agent)


def test_a_recorded_frame_of_ceria_gets_no_size(rig: Rig, reference: Path):
    reduction = {"poni": "beamline/detector.poni", "orientation": "flip_rows"}
    agent, beamline = rig.start_both("frames", str(reference / "frames"), reduction=reduction)
    assert beamline.wait(timeout=120) == 0, beamline.communicate()[1]
    (only,) = rig.predictions(1)
    assert only["verdict"] == "out_of_domain", only["reason"]
    assert only["diameter_nm"] is None
    rig.terminate(agent)
