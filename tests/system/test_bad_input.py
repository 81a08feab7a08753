"""A user's mistake gives one clear line, an exit code, and never a traceback."""

import json
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.helpers.commands import ended
from tests.helpers.rig import ROOT, Rig, refusing_port

pytestmark = pytest.mark.system


def qd(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `qd-agent` as a process; where that is not what matters, `ended` is quicker."""
    command = [sys.executable, "-m", "qd_agent", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def one_line(text: str) -> str:
    assert "Traceback" not in text
    (line,) = [line for line in text.splitlines() if line.strip()]
    return line


def test_run_without_its_poni_says_which_file_is_missing(rig: Rig):
    # The stores are given, so that nothing is started before the mistake is found.
    config = rig.config(redis={"url": "redis://127.0.0.1:1"}, tiled={"uri": "http://127.0.0.1:1"})
    done = qd("run", str(config))
    assert done.returncode != 0
    line = one_line(done.stderr)
    assert "detector.poni" in line
    assert "no such file" in line.lower() or "does not exist" in line.lower()


def test_an_unknown_key_stops_run_and_check_before_anything_is_started(rig: Rig):
    config = rig.config(redsi={})
    for command in ("run", "check"):
        done = qd(command, str(config))
        assert done.returncode == 2
        assert "redsi: unknown key" in one_line(done.stderr)
    assert not (rig.folder / "agent").exists()


def test_check_names_everything_that_cannot_be_opened(rig: Rig):
    with refusing_port() as port:
        config = rig.config(
            redis={"url": f"redis://127.0.0.1:{port}"},
            tiled={"uri": f"http://127.0.0.1:{port}"},
            sizer={"model": "no-model"},
        )
        done = qd("check", str(config))
    assert done.returncode == 2
    assert done.stderr == ""
    failed = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("FAIL")}
    assert failed == {"geometry:", "model:", "redis:", "tiled:"}
    assert "Traceback" not in done.stdout


def test_check_proves_a_working_configuration_and_reads_a_frame_back(rig: Rig):
    rig.calibrate()
    rig.own_tiled = True
    done = ended("check", rig.config())
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["ok"] * 7


def test_check_warns_of_doors_that_stand_open_and_run_does_so_too(rig: Rig):
    rig.calibrate()
    config = rig.config(
        source={"address": "tcp://10.255.255.1:5578"}, frames={"allowed_roots": ["/", "beamline"]}
    )
    done = ended("check", config)
    assert done.returncode == 0, done.stdout + done.stderr
    warned = [line for line in done.stdout.splitlines() if line.startswith("warn  open door: ")]
    assert len(warned) == 2
    assert "give source.curve_server_key" in warned[0]
    assert "frames.allowed_roots /: documents could name any file" in warned[1]
    agent = rig.start_agent(config)
    assert "".join(rig.wait_until_ready(agent)).count("open door") == 2
    rig.terminate(agent)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("1 2\n2 nan\n3 4\n", "NaN"),
        ("", "empty"),
        ("5 1\n4 1\n3 1\n", "increas"),
        ("\x00\x01\x02", "text"),
    ],
)
def test_a_broken_file_gets_a_reason_and_the_others_are_still_sized(
    tmp_path: Path, content: str, said: str
):
    bad, good = tmp_path / "bad.xy", tmp_path / "good.xy"
    bad.write_text(content)
    q = np.linspace(1, 14, 3000)
    np.savetxt(good, np.column_stack([q, 100 + 0 * q]))
    done = ended("size", bad, good, "--unit", "q_A^-1", "--json")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    first, second = map(json.loads, done.stdout.splitlines())
    assert first["verdict"] == "bad_frame"
    assert said.lower() in first["reason"].lower()
    assert second["verdict"] in {"no_nanocrystals", "out_of_domain"}
    assert second["diameter_nm"] is None
    plain = ended("size", bad, "--unit", "q_A^-1")
    assert one_line(plain.stderr).startswith(str(bad))


def test_size_asks_for_the_wavelength_that_it_needs(tmp_path: Path):
    path = tmp_path / "a.xy"
    path.write_text("10 1\n20 2\n30 1\n")
    done = qd("size", str(path))
    assert done.returncode == 2
    assert "--wavelength" in one_line(done.stderr)
    for arguments in (("--wavelength", "-1"), ("--unit", "degrees")):
        assert ended("size", path, *arguments).returncode != 0


def test_a_second_agent_in_the_same_folder_is_refused(rig: Rig):
    first, beamline = rig.start_both("growth", "--frames", "1", "--binning", "4")
    done = qd("run", str(rig.folder / "agent.yaml"))
    assert done.returncode == 1
    assert "another agent" in one_line(done.stderr)
    beamline.wait(timeout=120)
    rig.terminate(first)


def test_redis_away_at_start_is_said_once_and_the_frames_are_sized_meanwhile(rig: Rig):
    with refusing_port() as port:
        redis = {"url": f"redis://:hunter2@127.0.0.1:{port}"}
        agent, beamline = rig.start_both("growth", "--frames", "3", "--binning", "4", redis=redis)
        assert beamline.wait(timeout=120) == 0
        (run_uid,) = {str(line["run_uid"]) for line in rig.truth()}
        assert len(rig.tiled_rows(run_uid, 3)) == 3, "Tiled gets them without Redis"
        told = ended("status", rig.folder / "agent.yaml")
        assert told.returncode == 1
        assert "where an agent works" in told.stdout
        assert "  redis      3 predictions waiting" in told.stdout.splitlines()
        assert f"127.0.0.1:{port} is away" in one_line(told.stderr)
        text = rig.terminate(agent)
    assert agent.returncode == 0
    assert "Traceback" not in text
    assert text.count("sink is away") == 1
    assert f"127.0.0.1:{port}" in text
    assert "hunter2" not in text


def test_tiled_away_at_start_is_said_once_and_redis_gets_the_sizes_meanwhile(rig: Rig):
    with refusing_port() as port:
        tiled = {"uri": f"http://127.0.0.1:{port}?api_key=hunter2"}
        agent, beamline = rig.start_both("growth", "--frames", "3", "--binning", "4", tiled=tiled)
        assert beamline.wait(timeout=120) == 0
        assert len(rig.predictions(3)) == 3, "Redis gets them without Tiled"
        deadline = time.monotonic() + 120  # each heartbeat tells anew
        while "  tiled      down, 3 predictions waiting" not in (
            told := ended("status", rig.folder / "agent.yaml").stdout
        ):
            assert time.monotonic() < deadline, told
        text = rig.terminate(agent)
    assert agent.returncode == 0
    assert "Traceback" not in text
    assert text.count("sink is away") == 1
    assert "hunter2" not in text


def test_run_with_a_model_that_is_not_there_ends_in_one_line(rig: Rig):
    rig.calibrate()
    stores = {"redis": {"url": "redis://127.0.0.1:1"}, "tiled": {"uri": "http://127.0.0.1:1"}}
    done = qd("run", str(rig.config(sizer={"model": str(rig.folder / "nowhere")}, **stores)))
    assert done.returncode == 1
    (last,) = [line for line in done.stderr.splitlines() if line.startswith("qd-agent: ")]
    assert "nowhere" in last
    assert "Traceback" not in done.stderr


def test_frames_that_are_broken_are_set_aside_with_a_reason(rig: Rig):
    """Recorded frames: one all zero, one of NaN, among good ones of the right shape."""
    folder = rig.folder / "recorded"
    folder.mkdir()
    shape = rig.calibrate()
    (folder / "d.poni").write_text((rig.beamline_folder / "detector.poni").read_text())
    rng = np.random.default_rng(0)
    frames = np.stack(
        [
            rng.poisson(50, shape).astype("f4"),
            np.zeros(shape, "f4"),
            np.full(shape, np.nan, "f4"),
            rng.poisson(50, shape).astype("f4"),
        ]
    )
    with h5py.File(folder / "frames.h5", "w") as file:
        file["entry/data"] = frames
    config = {"poni": "beamline/detector.poni"}
    agent, beamline = rig.start_both("frames", str(folder), "--rate", "5", reduction=config)
    assert beamline.wait(timeout=120) == 0, beamline.communicate()[1]
    found = {p["key"]["seq_num"]: p for p in rig.predictions(4)}
    assert [found[n]["verdict"] == "bad_frame" for n in (1, 2, 3, 4)] == [False, True, True, False]
    assert all(p["diameter_nm"] is None for p in found.values()), "a flat frame has no size"
    assert all(found[n]["reason"] for n in (2, 3))
    rig.terminate(agent)


def test_a_file_that_is_cut_short_costs_its_frames_and_nothing_else(rig: Rig):
    agent, beamline = rig.start_both(
        *("growth", "--frames", "12", "--rate", "2", "--binning", "4", "--darks", "0")
    )
    rig.predictions(3)
    (file,) = (rig.beamline_folder / "frames").glob("*.h5")
    file.unlink()  # the writer goes on into a file that nobody can find any more
    assert beamline.wait(timeout=120) == 0, beamline.communicate()[1]
    found = rig.predictions(12, patience=120)
    assert len({p["key"]["seq_num"] for p in found}) == len(found) == 12
    assert all(p["reason"] for p in found if p["verdict"] == "bad_frame")
    text = rig.terminate(agent)
    assert agent.returncode == 0, text
