"""Runs in a databroker v1 catalog, written by a real RunEngine, by the command."""

import json
import os
import subprocess
import sys

import pytest

from qd_agent.documents.recording import Recorder
from simulated_beamline import modes
from simulated_beamline.formats import FramesAs
from simulated_beamline.synthesis import Kinetics
from tests.helpers.formats import FRAMES, scan
from tests.helpers.rig import ROOT

pytestmark = pytest.mark.system

DIFFER = {"publication_time", "latency_ms"}
WHY = "needs databroker 1.2.5, beside which databroker 2 cannot be installed (docs/how-to)"


def test_runs_of_a_msgpack_catalog_have_the_numbers_of_their_recording(tmp_path):
    pytest.importorskip("databroker._drivers.msgpack", reason=WHY)
    msgpack = pytest.importorskip("suitcase.msgpack", reason=WHY)
    frames = tmp_path / "frames"
    frames.mkdir()
    recorder = Recorder(tmp_path / "runs.jsonl")
    request = modes.growth(modes.Common(frames, binning=4), Kinetics(), FRAMES, 60.0)
    for number in range(2):
        (frames / str(number)).mkdir()
        with msgpack.Serializer(tmp_path / "store") as into_the_catalog:
            callbacks = [into_the_catalog, recorder.add]
            scan(request, frames / str(number), FramesAs.LEGACY_HDF5, callbacks=callbacks)
    recorder.close()
    source = {"driver": "bluesky-msgpack-catalog"}
    source["args"] = {"paths": [str(tmp_path / "store" / "*.msgpack")]}
    (tmp_path / "share" / "intake").mkdir(parents=True)
    catalog = {"sources": {"lastyear": source}}
    (tmp_path / "share" / "intake" / "lastyear.yml").write_text(json.dumps(catalog))

    def replay(origin, *more):
        tree = {
            "data": str(tmp_path / f"agent-{len(origin)}"),
            "router": {"data_keys": ["detector"]},
            "frames": {"allowed_roots": [str(frames)]},
            "reduction": {
                "poni": str(frames / "detector.poni"),
                "mask": str(frames / "mask.npy"),
                "monitor_key": "monitor",
            },
        }
        (tmp_path / "agent.yaml").write_text(json.dumps(tree))
        command = [sys.executable, "-W", "ignore", "-m", "qd_agent", "replay", origin, "--json"]
        command += ["--config", str(tmp_path / "agent.yaml"), *more]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=ROOT,
            env={**os.environ, "XDG_DATA_HOME": str(tmp_path / "share")},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found = [json.loads(line) for line in done.stdout.splitlines()]
        return [{k: v for k, v in p.items() if k not in DIFFER} for p in found]

    archived = replay("databroker:lastyear", "--query", f"num_points={FRAMES}", "--at-once", "2")
    assert len(archived) == 2 * FRAMES
    assert any(p["diameter_nm"] for p in archived)
    assert archived == replay(str(tmp_path / "runs.jsonl"), "--at-once", "1")
