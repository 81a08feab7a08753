"""A beamline for endurance tests: `python chaos_beamline.py PLAN.json`; a process of its own.

Runs are composed with event_model, frames are written into growing HDF5 files (SWMR) and documents
are published over ZMQ. What was truly taken goes, a line a frame, into `journal.jsonl`, after the
frame lies on disk and before any document names it. When a run has stopped it goes into Tiled, as
often as it takes. Nothing of the agent is imported.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import random
import shutil
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import zmq
from event_model import StreamRange, compose_run

from simulated_beamline.frame_file import DATASET, FrameFile
from simulated_beamline.layout import Geometry, pixels_of, write_calibration
from simulated_beamline.projection import Projector
from simulated_beamline.sample import QAxis, reacting_sample
from simulated_beamline.scenes import Exposure, GrowthScene
from simulated_beamline.synthesis import Kinetics
from simulated_beamline.wire import message

BINNING = 8
"""The simulated detector's rows and columns shrink by this: 130 × 122 pixels."""
KINDS = ("step", "darks", "fly", "cut", "paused", "aborted")
PAUSE = 25
"""Frames of other runs that a paused run waits for."""
READING = {"source": "sim", "dtype": "number", "shape": [], "dtype_numpy": "<f8"}


@dataclass
class Plan:
    """What to take.

    Attributes:
        folder: for frames, calibration, journal; the file `stop` in it ends the last run, and
            no more frames are taken than the file `allowed` says, when there is one.
        address: where to publish.
        seed: of everything that is drawn.
        frames: frames of a run, from and to.
        rate_hz: frames per second, of all runs together, at most.
        together: runs that go on at the same time.
        bad: share of frames that are unreadable or empty.
        tiled: folder of the Tiled server, or '' for no archive.
        kinds: kinds of runs to draw from.
    """

    folder: str
    address: str
    seed: int = 1
    frames: tuple[int, int] = (25, 45)
    rate_hz: float = 20.0
    together: int = 2
    bad: float = 0.01
    tiled: str = ""
    api_key: str = ""
    kinds: tuple[str, ...] = KINDS


def small_geometry() -> Geometry:
    full = Geometry()
    rows, columns = full.shape
    return Geometry(
        shape=(rows // BINNING, columns // BINNING),
        pixel_m=full.pixel_m * BINNING,
        binning=BINNING,
    )


class Reactor:
    """Makes scenes: every run is a synthesis of its own, with its own noise."""

    def __init__(self) -> None:
        geometry, axis = small_geometry(), QAxis()
        self._sample = reacting_sample(axis, geometry.wavelength, 1, 6.0)
        self._projector, self._pixels = Projector(geometry, axis), pixels_of(geometry, 1)

    def scene(self, seed: int, frames: int) -> GrowthScene:
        exposure = Exposure(counts=6_400.0, frames=frames, seed=seed)
        return GrowthScene(self._projector, self._pixels, self._sample, Kinetics(), exposure)


class Journal:
    """What was truly taken, a line a frame, on disk at once."""

    def __init__(self, path: Path):
        self._file = path.open("a", buffering=1)

    def write(self, **fields: object) -> None:
        self._file.write(json.dumps(fields) + "\n")


@dataclass
class Run:
    """One run, advanced a step at a time; every step gives the documents to be published.

    `clock` counts the frames of all runs; a paused run waits until others have taken some.
    """

    kind: str
    frames: int
    folder: Path
    scene: GrowthScene
    journal: Journal
    rng: random.Random
    bad: float
    clock: Callable[[], int]
    documents: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._bundle = compose_run(metadata={"plan_name": "chaos", "kind": self.kind})
        self.uid: str = self._bundle.start_doc["uid"]
        self._pending = [("start", dict(self._bundle.start_doc))]
        self._taken = 0
        if self.kind == "darks":
            self._open("dark")
            for _ in range(3):
                self._shot("dark", 1, beam=False)
            self._file.close()
        self._open("primary")
        self._stop_at = self.frames
        if self.kind == "aborted":
            self._stop_at = self.rng.randint(self.frames // 3, self.frames - 1)
        self._pause_until = 0
        self._pause_at = self.frames // 2 if self.kind == "paused" else -1
        self.stopped = self._ending = False

    def step(self) -> list[tuple[str, dict[str, Any]]]:
        """Take the next frames, or stop; give the documents."""
        if self.clock() < self._pause_until and not self._ending:
            return []
        if self._taken >= self._stop_at:
            self._stop()
        else:
            left = self._stop_at - self._taken
            batch = min(self.rng.randint(2, 8), left) if self.kind == "fly" else 1
            # A burst at the end of a run whose file is then cut: some frames wait unread.
            for _ in range(left if self.kind == "cut" and left <= 20 else 1):
                self._shot("primary", batch, beam=True)
            if self._taken == self._pause_at:
                self._pause_until = self.clock() + PAUSE
        out, self._pending = self._pending, []
        self.documents += out
        return out

    def end_soon(self) -> None:
        self._stop_at = min(self._stop_at, self._taken)
        self._ending = True

    def _open(self, stream: str) -> None:
        self._path = self.folder / f"{self.uid}-{stream}.h5"
        shape = self.scene.shape
        self._file = FrameFile(self._path, shape, self.scene.dtype)
        keys: dict[str, Any] = {
            "detector": {
                "source": "sim",
                "dtype": "array",
                "shape": [1, *shape],
                "dtype_numpy": self.scene.dtype.str,
                "external": "STREAM:",
            }
        }
        if stream == "primary" and self.kind != "fly":
            keys["monitor"] = dict(READING)
        self._stream = self._bundle.compose_descriptor(name=stream, data_keys=keys)
        self._pending.append(("descriptor", dict(self._stream.descriptor_doc)))
        self._resource = self._bundle.compose_stream_resource(
            data_key="detector",
            mimetype="application/x-hdf5",
            uri=self._path.as_uri().replace("file://", "file://localhost"),
            parameters={"dataset": DATASET, "chunk_shape": [1, *shape]},
        )
        self._pending.append(("stream_resource", dict(self._resource.stream_resource_doc)))

    def _shot(self, stream: str, batch: int, *, beam: bool) -> None:
        first = self._file.written
        for row in range(first, first + batch):
            shot = self.scene.shoot(row, beam=beam)
            fate = self._fate() if beam else ""
            self._write(shot.image, fate)
            if beam:
                self._taken += 1
                self.journal.write(
                    what="frame", run=self.uid, stream=stream, seq_num=row + 1,
                    file=str(self._path), row=row, fate=fate, time=time.time(),
                )  # fmt: skip
        datum = self._resource.compose_stream_datum(
            indices=StreamRange(start=first, stop=first + batch),
            seq_nums=StreamRange(start=first + 1, stop=first + batch + 1),
            descriptor=self._stream.descriptor_doc,
        )
        self._pending.append(("stream_datum", dict(datum)))
        if self.kind == "fly":
            return
        data = {"monitor": float(shot.readings["monitor"])} if stream == "primary" else {}
        event = self._stream.compose_event(
            data=data, timestamps=dict.fromkeys(data, time.time()), seq_num=first + 1,
            validate=False,
        )  # fmt: skip
        self._pending.append(("event", dict(event)))

    def _fate(self) -> str:
        if self.rng.random() >= self.bad:
            return ""
        return self.rng.choice(["unreadable", "empty"])

    def _write(self, image: np.ndarray, fate: str) -> None:
        if fate == "unreadable":
            # The chunk exists and cannot be unpacked: a damaged disk block.
            data = self._file._data
            row = self._file.written
            data.resize(row + 1, axis=0)
            data.id.write_direct_chunk((row, 0, 0), b"this is no deflated chunk" * 4)
            data.flush()
            self._file.written += 1
        else:
            self._file.append(np.zeros_like(image) if fate == "empty" else image)

    def _stop(self) -> None:
        self._file.close()
        if self.kind == "cut":
            shutil.copyfile(self._path, self._path.with_suffix(".original"))
            os.truncate(self._path, int(0.6 * self._path.stat().st_size))
        status = "abort" if self.kind == "aborted" else "success"
        counts = {"primary": self._taken, **({"dark": 3} if self.kind == "darks" else {})}
        stop = dict(self._bundle.compose_stop(exit_status=status, reason=""))
        stop["num_events"] = counts
        self._pending.append(("stop", stop))
        self.journal.write(what="stop", run=self.uid, kind=self.kind, **counts, time=time.time())
        self.stopped = True


class Archive(threading.Thread):
    """Writes stopped runs into Tiled; a run that was half written is removed and written again."""

    def __init__(self, folder: Path, api_key: str, journal: Journal):
        super().__init__(name="archive", daemon=True)
        self._folder, self._key, self._journal = folder, api_key, journal
        self.queue: queue.Queue[Run | None] = queue.Queue()

    def run(self) -> None:
        while (run := self.queue.get()) is not None:
            while True:
                try:
                    self._write(run)
                except Exception as error:  # noqa: BLE001 - whatever it is, the next try decides
                    sys.stderr.write(f"archive: {type(error).__name__}: {error}"[:300] + "\n")
                    time.sleep(1.0)
                else:
                    self._journal.write(what="archived", run=run.uid, time=time.time())
                    break

    def _write(self, run: Run) -> None:
        from bluesky_tiled_plugins import TiledWriter
        from tiled.client import from_uri
        from tiled.structures.core import Spec

        port = json.loads((self._folder / "port.json").read_text())["port"]
        root = from_uri(f"http://127.0.0.1:{port}/api/v1", api_key=self._key)
        try:
            if "raw" not in root:
                root.create_container("raw", specs=[Spec("CatalogOfBlueskyRuns", "3.0")])
            raw = root["raw"]
            if run.uid in raw:
                raw[run.uid].delete(recursive=True, external_only=False)
            writer = TiledWriter(raw, batch_size=100_000)
            for name, doc in run.documents:
                writer(name, doc)
        finally:
            root.context.close()


class Beamline:
    """Runs one after the other, some at the same time, until the file `stop` appears."""

    def __init__(self, plan: Plan):
        self.plan, self.rng = plan, random.Random(plan.seed)
        self.folder = Path(plan.folder)
        (self.folder / "frames").mkdir(parents=True, exist_ok=True)
        self.reactor = Reactor()
        geometry = small_geometry()
        write_calibration(self.folder, geometry.poni(), pixels_of(geometry, 1).masked)
        self.journal = Journal(self.folder / "journal.jsonl")
        self.count = self.taken = 0
        self.archive = None
        if plan.tiled:
            self.archive = Archive(Path(plan.tiled), plan.api_key, self.journal)
            self.archive.start()

    def next_run(self) -> Run:
        kinds = self.plan.kinds
        kind = kinds[self.count % len(kinds)]
        frames = self.rng.randint(*self.plan.frames)
        self.count += 1
        scene = self.reactor.scene(1000 * self.plan.seed + self.count, frames)
        return Run(
            kind, frames, self.folder / "frames", scene, self.journal, self.rng, self.plan.bad,
            lambda: self.taken,
        )  # fmt: skip

    def allowed(self) -> float:
        """How many frames may be taken in all."""
        path = self.folder / "allowed"
        return int(path.read_text()) if path.exists() else float("inf")

    def work(self, send: Any) -> None:
        stop = self.folder / "stop"
        runs: list[Run] = []
        due = time.monotonic()
        while runs or not stop.exists():
            if self.taken >= self.allowed() and not stop.exists():
                time.sleep(0.02)
                continue
            while not stop.exists() and len(runs) < self.plan.together:
                runs.append(self.next_run())
            due += self._advance(runs, send, ending=stop.exists()) / self.plan.rate_hz
            now = time.monotonic()
            due = max(due, now - 0.5)
            time.sleep(max(0.01, due - now))
        if self.archive is not None:
            self.archive.queue.put(None)
            self.archive.join()
        self.journal.write(what="end", time=time.time())

    def _advance(self, runs: list[Run], send: Any, *, ending: bool) -> int:
        """Take the next frames of every run; give how many these were."""
        before = self.taken
        for run in list(runs):
            if ending:
                run.end_soon()
            frames = run._taken
            documents = run.step()
            self.taken += run._taken - frames
            for name, doc in documents:
                send(name, doc)
            if run.stopped:
                runs.remove(run)
                if self.archive is not None:
                    self.archive.queue.put(run)
        return self.taken - before


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("plan", type=Path)
    arguments = parser.parse_args()
    plan = Plan(**json.loads(arguments.plan.read_text()))
    beamline = Beamline(plan)
    context = zmq.Context()
    socket = context.socket(zmq.XPUB)
    socket.set_hwm(100_000)
    socket.bind(plan.address)
    if not socket.poll(120_000):
        sys.stderr.write("nobody subscribed" + "\n")
        return 1
    socket.recv()
    beamline.work(lambda name, doc: socket.send(message(b"raw", name, doc)))
    socket.close(linger=2000)
    context.term()
    return 0


if __name__ == "__main__":
    sys.exit(main())
