"""One scan from the first document to the last: where documents go, progress, and the account."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

from simulated_beamline.archive import TiledArchive, tiled_connection
from simulated_beamline.beamline import Callback, assemble
from simulated_beamline.formats import FramesAs
from simulated_beamline.publish import Curve, ZmqPublisher
from simulated_beamline.scenes import Scene


@dataclass(frozen=True, slots=True)
class ScanRequest:
    """What to take.

    Attributes:
        mode: 'growth', 'patterns' or 'frames'; becomes the start document's plan_name.
        scene: where frames come from.
        gauges: readings that go into each event.
        frames: number of frames.
        darks: number of dark frames.
        rate_hz: frames per second.
        metadata: for the start document.
        output: folder for frames, PONI, mask and truth.
        frames_as: how frames are stored and announced.
        frames_per_event: frames that each event of 'primary' has.
    """

    mode: str
    scene: Scene
    gauges: Sequence[str]
    frames: int
    darks: int
    rate_hz: float
    output: Path
    metadata: Mapping[str, object] = field(default_factory=dict[str, object])
    frames_as: FramesAs = FramesAs.HDF5
    frames_per_event: int = 1


@dataclass(frozen=True, slots=True)
class Outlets:
    """Where documents go.

    Attributes:
        zmq: address to publish at.
        prefix: first word of every ZMQ message.
        curve: keys to encrypt with, or None.
        wait_for_subscriber_s: seconds to wait for one before the scan; 0 does not wait.
        tiled_uri: Tiled server to write into, or None.
        tiled_api_key: its key.
        drain_s: how long to wait in the end for Tiled to take what is still queued.
    """

    zmq: str
    prefix: str = "raw"
    curve: Curve | None = None
    wait_for_subscriber_s: float = 0.0
    tiled_uri: str | None = None
    tiled_api_key: str | None = None
    drain_s: float = 60.0


def run(
    request: ScanRequest, outlets: Outlets, on_frame: Callable[[str], None] | None = None
) -> dict[str, object]:
    """Take the scan and give its account, ready for JSON.

    An interrupt (Ctrl-C, SIGTERM) aborts the run before its next frame; the account says so.

    Args:
        request: what to take.
        outlets: where documents go.
        on_frame: called with the name of the stream after each event.

    Raises:
        BeamlineError: the address is taken, or nobody subscribed in time.
    """
    counter = _Counter(on_frame, flies=request.frames_as is FramesAs.FLY)
    prefix = outlets.prefix.encode()
    with ZmqPublisher(outlets.zmq, prefix, outlets.curve) as publisher, _interrupts() as stop:
        archive = None
        callbacks: list[Callback] = [publisher]
        if outlets.tiled_uri is not None:
            connection = tiled_connection(outlets.tiled_uri, outlets.tiled_api_key)
            archive = TiledArchive(connection, f"Tiled at {_shown(outlets.tiled_uri)}")
            callbacks.append(archive)
        beamline = assemble(
            request.scene,
            request.output,
            request.gauges,
            [*callbacks, counter],
            request.frames_as,
        )
        if outlets.wait_for_subscriber_s > 0.0:
            publisher.wait_for_subscriber(outlets.wait_for_subscriber_s, stop)
        began = time.monotonic()
        uids = beamline.scan(
            frames=request.frames,
            darks=request.darks,
            period=1.0 / request.rate_hz,
            metadata={"plan_name": request.mode, **request.metadata},
            interrupted=stop,
            frames_per_event=request.frames_per_event,
        )
        took = time.monotonic() - began
        account = archive.close(outlets.drain_s) if archive is not None else None
    return {
        "mode": request.mode,
        "run_uids": uids,
        "exit_status": counter.exit_status,
        "frames_taken": counter.events.get("primary", 0),
        "darks_taken": counter.events.get("dark", 0),
        "seconds": round(took, 3),
        "output": str(request.output.resolve()),
        "poni": _if_there(request.output / "detector.poni"),
        "mask": _if_there(request.output / "mask.npy"),
        "truth": _if_there(request.output / "truth.jsonl"),
        "zmq": {"address": publisher.address, "sent": publisher.sent, "failed": publisher.failed},
        "tiled": None
        if account is None
        else {
            "uri": _shown(outlets.tiled_uri or ""),
            "written": account.written,
            "not_written": account.not_written,
        },
    }


class _Counter:
    """Counts events per stream (frames of a fly scan), and keeps how the run ended."""

    def __init__(self, on_frame: Callable[[str], None] | None, *, flies: bool) -> None:
        self._flies = flies
        self.events: dict[str, int] = {}
        self.exit_status = "none"
        self._streams: dict[str, str] = {}
        self._on_frame = on_frame

    def __call__(self, name: str, document: Mapping[str, Any]) -> None:
        if name == "descriptor":
            self._streams[document["uid"]] = document["name"]
        elif name == "event":
            self._count(document["descriptor"], 1)
        elif name == "stream_datum" and self._flies:
            if self._streams[document["descriptor"]] == "primary":  # no event will follow
                indices = document["indices"]
                self._count(document["descriptor"], indices["stop"] - indices["start"])
        elif name == "stop":
            self.exit_status = document["exit_status"]

    def _count(self, descriptor: str, number: int) -> None:
        stream = self._streams[descriptor]
        self.events[stream] = self.events.get(stream, 0) + number
        if self._on_frame is not None:
            for _ in range(number):
                self._on_frame(stream)


@contextmanager
def _interrupts() -> Generator[Event]:
    """Turn the first SIGINT or SIGTERM into an event; a second one interrupts at once."""
    stop = Event()
    numbers = (signal.SIGINT, signal.SIGTERM)

    def ask_to_stop(number: int, _frame: object) -> None:
        stop.set()
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        signal.signal(number, ask_to_stop)
    try:
        yield stop
    finally:
        for number in numbers:
            signal.signal(number, before[number])


def _shown(uri: str) -> str:
    """Give the URI without its query, which may hold a key."""
    return uri.split("?", 1)[0]


def _if_there(path: Path) -> str | None:
    return str(path.resolve()) if path.is_file() else None
