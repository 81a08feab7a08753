"""The recordings in `tests/data/recordings`: how they are made, configured and replayed.

    python -m tests.helpers.recordings            # make all of it again: runs and expectations
    python -m tests.helpers.recordings --expected # the expectations alone, of a new model say

`qd-agent record` writes down what a RunEngine of the simulated beamline publishes by ZMQ. The
folder in which that happens is called /beamline in the recording.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.commands import qd_agent
from tests.helpers.rig import ROOT

FOLDER = ROOT / "tests" / "data" / "recordings"
NAMES = ("images", "strip")
KEPT = ("verdict", "diameter_nm", "interval_nm", "flags", "frame_time", "readings")
TOLERANCE_NM = 0.002
"""Of diameters and the ends of intervals, by the model that gave the expected ones: what another
processor may change in the last digits of single precision. Everything else is equal."""
COMMAND = [sys.executable, "-P", "-W", "ignore", "-m", "qd_agent"]


def tree(name: str, folder: Path, data: Path) -> dict[str, object]:
    """Give the configuration of a recording that lies in a folder."""
    mask = {"mask": str(folder / "mask.tif"), "monitor_key": "monitor"}
    detector: dict[str, object] = {"reduction": {"poni": str(folder / "detector.poni"), **mask}}
    if name == "strip":
        axis = {"axis": str(folder / "two_theta.npy"), "wavelength": 0.1839}
        detector = {"detectors": {"detector": {**axis, **mask}}}
    return {
        "data": str(data),
        "metadata": {
            "wavelength": "start.wavelength_angstrom",
            "exposure": "configuration.detector.detector-acquire_time",
            "temperature": "event.reactor_temperature",
            "sample": "start.sample_name",
        },
        "frames": {"allowed_roots": [str(folder)], "path_map": {"/beamline": str(folder)}},
        **detector,
    }


def replay(name: str, work: Path) -> list[dict[str, object]]:
    """Replay a recording with the command, in a folder of its own; give its predictions."""
    config = work / "agent.yaml"
    config.write_text(json.dumps(tree(name, FOLDER / name, work / "data")))
    done = qd_agent("replay", FOLDER / name / "runs.jsonl", "--config", config, "--json")
    said = done.replace(str(FOLDER / name), "/beamline")
    return [json.loads(line) for line in said.splitlines()]


def expected(name: str) -> dict[str, object]:
    """Give what is expected of a recording."""
    return json.loads((FOLDER / name / "expected.json").read_text())


def summary(predictions: Iterable[dict[str, object]]) -> dict[str, object]:
    """Give what is kept of predictions, by the frame's key, and the model that gave them."""
    kept, model = {}, ""
    for prediction in predictions:
        model = prediction["provenance"]["model_sha256"]
        key = "/".join(str(part) for part in prediction["key"].values())
        kept[key] = {field: prediction[field] for field in KEPT}
        if prediction["verdict"] == "bad_frame":  # other reasons hold figures of the model
            kept[key]["reason"] = prediction["reason"]
    return {"model_sha256": model, "frames": kept}


def check(found: dict[str, Any], name: str) -> None:
    """Assert that a summary is what is expected of a recording."""
    wanted: dict[str, Any] = expected(name)
    assert found["frames"].keys() == wanted["frames"].keys()
    same_model = found["model_sha256"] == wanted["model_sha256"]
    for key, answer in wanted["frames"].items():
        got = dict(found["frames"][key])
        size, wanted_size = got.pop("diameter_nm"), answer.pop("diameter_nm")
        interval, wanted_interval = got.pop("interval_nm"), answer.pop("interval_nm")
        assert got == answer, key
        if wanted_size is None:
            assert (size, interval) == (None, None)
        elif same_model:
            assert [size, *interval] == pytest.approx(
                [wanted_size, *wanted_interval], abs=TOLERANCE_NM
            )
        else:
            low, high = wanted_interval
            assert low <= size <= high, "another model; see tests/data/recordings/README.md"


# -- making them ---------------------------------------------------------------------------


def _images(folder: Path, publish: Callable[..., None]) -> None:
    """A synthesis in HDF5 (SWMR), a frame by resource and datum, and plans out of the box."""
    from bluesky import RunEngine
    from bluesky.plans import count, scan
    from ophyd import sim

    from simulated_beamline.formats import FramesAs

    _grow(folder, publish, FramesAs.HDF5, 3)
    _grow(folder, publish, FramesAs.LEGACY_HDF5, 1)
    engine = RunEngine({}, context_managers=[])
    engine.subscribe(publish)
    engine(scan([sim.det], sim.motor, -1, 1, 3))  # no detector: nothing to say
    engine(count([sim.direct_img], 1))  # an image inside of the event, too small for this PONI


def _strip(folder: Path, publish: Callable[..., None]) -> None:
    """The same synthesis before a strip detector."""
    from simulated_beamline.formats import FramesAs

    _grow(folder, publish, FramesAs.STRIP, 3)


def _grow(folder: Path, publish: Callable[..., None], frames_as, frames: int) -> None:
    from simulated_beamline import modes
    from simulated_beamline.beamline import assemble
    from simulated_beamline.synthesis import Kinetics

    common = modes.Common(folder, darks=1, binning=4, frames_as=frames_as)
    wanted = modes.growth(common, Kinetics(plateau_share=0.9), frames, 8.0)
    beamline = assemble(wanted.scene, folder, wanted.gauges, [publish], frames_as)
    beamline.scan(frames=frames, darks=1, period=0.05, metadata=wanted.metadata)


SCANS = {"images": (_images, 4), "strip": (_strip, 1)}
"""What takes the runs of each recording, and how many they are."""


def make(name: str) -> None:
    """Take the runs of a recording anew, and let `qd-agent record` write them down."""
    import tifffile

    from simulated_beamline.publish import ZmqPublisher

    scans, runs = SCANS[name]
    with tempfile.TemporaryDirectory() as temporary, ZmqPublisher("tcp://127.0.0.1:0") as zmq:
        work, folder = Path(temporary), Path(temporary) / name
        folder.mkdir()
        config = work / "record.yaml"
        source = {"source": {"address": zmq.address}, "reduction": {"poni": "none.poni"}}
        config.write_text(json.dumps(source))
        command = [*COMMAND, "record", str(config), str(work / "runs.jsonl"), "--runs", str(runs)]
        recorder = subprocess.Popen(command, cwd=ROOT)
        zmq.wait_for_subscriber(60.0)
        scans(folder, zmq)
        assert recorder.wait(60.0) == 0
        text = (work / "runs.jsonl").read_text().replace(str(folder), "/beamline")
        assert temporary not in text
        (folder / "runs.jsonl").write_text(text)
        mask = np.load(folder / "mask.npy").astype(np.uint8)
        tifffile.imwrite(folder / "mask.tif", np.atleast_2d(mask), compression="zlib")
        (folder / "mask.npy").unlink()
        (folder / "truth.jsonl").unlink()
        shutil.rmtree(FOLDER / name, ignore_errors=True)
        shutil.copytree(folder, FOLDER / name)


def expect(name: str) -> None:
    """Replay a recording, and keep what comes out as what is expected of it."""
    with tempfile.TemporaryDirectory() as work:
        found = summary(replay(name, Path(work)))
    (FOLDER / name / "expected.json").write_text(json.dumps(found, indent=1) + "\n")


def main(arguments: Sequence[str]) -> None:
    for name in NAMES:
        if "--expected" not in arguments:
            make(name)
        expect(name)


if __name__ == "__main__":
    main(sys.argv[1:])
