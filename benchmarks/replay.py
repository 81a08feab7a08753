"""Frames a second of a replay by two processes at once, against one (starting them left out).

Wall time, so that other work on the machine does harm (the load stands above), and CPU seconds, to
which it does little: where they are equal, two free cores give twice the frames a second.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import psutil

from benchmarks.timing import Note, Row
from qd_agent.config import Config
from qd_agent.core.ports import Document
from qd_agent.daemon import set_up_logging
from qd_agent.replay import Replay
from simulated_beamline import modes
from simulated_beamline.beamline import assemble
from simulated_beamline.formats import FramesAs
from simulated_beamline.synthesis import Kinetics

FRAMES, RUNS = 30, 4


def rows() -> list[Row | Note]:
    set_up_logging("warning")
    with tempfile.TemporaryDirectory() as folder:
        config, runs = _archive(Path(folder))
        (one, cpu_one), (two, cpu_two) = (
            _seconds(config, runs, count, Path(folder)) for count in (1, 2)
        )
    return [
        Row(f"{RUNS} runs of {FRAMES} frames, two at once", two, "one after the other", one),
        Row("the same in CPU seconds of all processes", cpu_two, "one after the other", cpu_one),
        Note(f"frames a second: {RUNS * FRAMES / two:.1f} against {RUNS * FRAMES / one:.1f}"),
    ]


def _archive(folder: Path) -> tuple[Config, list[list[Document]]]:
    request = modes.growth(modes.Common(folder, binning=4), Kinetics(), FRAMES, 60.0)
    runs: list[list[Document]] = []
    for number in range(RUNS + 2):  # two of them to warm up
        frames = folder / str(number)
        frames.mkdir()
        taken = _Taken()
        beamline = assemble(request.scene, frames, request.gauges, [taken], FramesAs.HDF5)
        beamline.scan(frames=FRAMES, darks=1, period=0.0, metadata={}, frames_per_event=1)
        runs.append(taken.documents)
    reduction = {"poni": folder / "detector.poni", "mask": folder / "mask.npy"}
    tree = {
        "data": folder / "agent",
        "router": {"data_keys": ["detector"]},
        "frames": {"allowed_roots": [folder]},
        "reduction": {**reduction, "monitor_key": "monitor"},
    }
    return Config.model_validate(tree), runs


class _Taken:
    """Keeps the documents of a run."""

    def __init__(self) -> None:
        self.documents: list[Document] = []

    def __call__(self, name: str, doc: dict[str, object]) -> None:
        self.documents.append((name, doc))


def _seconds(
    config: Config, runs: Sequence[Sequence[Document]], count: int, folder: Path
) -> tuple[float, float]:
    config = config.model_copy(update={"data": folder / f"agent-{count}"})
    with ExitStack() as stack:
        replaying = Replay(config, stack)
        replaying.employ(count)
        for documents in runs[RUNS:]:
            replaying.take(documents, lambda: None)
        replaying.settle()
        start, cpu = time.perf_counter(), _cpu_seconds()
        for documents in runs[:RUNS]:
            replaying.take(documents, lambda: None)
        replaying.settle()
        spent, cpu = time.perf_counter() - start, _cpu_seconds() - cpu
        uids = [str(documents[0][1]["uid"]) for documents in runs[:RUNS]]
        sizes = [p.diameter_nm for p in replaying.predictions(uids)]
        assert len(sizes) == RUNS * FRAMES
        assert np.isfinite([s for s in sizes if s is not None]).any()
    return spent, cpu


def _cpu_seconds() -> float:
    """CPU seconds of this process and of its workers so far."""
    me = psutil.Process()
    times = [p.cpu_times() for p in (me, *me.children())]
    return sum(spent.user + spent.system for spent in times)
