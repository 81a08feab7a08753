"""`qd-agent record` and `qd-agent replay` as commands, beside a beamline in another process."""

import json
import subprocess
import sys

import pytest

from tests.helpers.commands import ended
from tests.helpers.rig import ROOT, Rig

pytestmark = pytest.mark.system


def test_a_recorded_run_is_replayed_and_what_cannot_be_is_said_in_one_line(rig: Rig):
    rig.calibrate()
    config, recording = rig.config(), str(rig.folder / "runs.jsonl")
    recorder = rig._start(["-m", "qd_agent", "record", str(config), recording, "--runs", "1"], None)
    assert recorder.stderr is not None
    assert any("recording" in line for line in recorder.stderr)
    beamline = rig.start_beamline("growth", "--frames", "3", "--rate", "10", "--binning", "4")
    assert beamline.wait(timeout=90) == 0, beamline.communicate()[1]
    assert recorder.wait(timeout=60) == 0

    command = [sys.executable, "-P", "-m", "qd_agent", "replay", recording, "--json"]
    command += ["--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [p["key"]["seq_num"] for p in found] == [1, 2, 3]
    assert {p["key"]["run_uid"] for p in found} == {line["run_uid"] for line in rig.truth()}
    for origin in ("nowhere", str(rig.folder / "none.jsonl")):
        said = ended("replay", origin, "--json", "--config", config)
        assert said.returncode == 2
        assert len(said.stderr.strip().splitlines()) == 1
