"""The beamline put together: a RunEngine, its devices, and the callbacks that documents go to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

from bluesky import RunEngine
from bluesky.utils import FailedStatus, RunEngineInterrupted
from ophyd_async.core import (
    SignalR,
    SignalRW,
    StaticPathProvider,
    UUIDFilenameProvider,
    init_devices,
    soft_signal_r_and_setter,
    soft_signal_rw,
)

from simulated_beamline.archive import one_line
from simulated_beamline.detector import AreaDetector, ShutterState
from simulated_beamline.errors import BeamlineError
from simulated_beamline.formats import FramesAs
from simulated_beamline.plain_detector import PlainDetector
from simulated_beamline.plans import darks_then_frames
from simulated_beamline.scenes import Scene
from simulated_beamline.truth import TruthLog

Callback = Callable[[str, Mapping[str, Any]], None]

UNITS = {"monitor": "counts", "reactor_temperature": "degC"}


@dataclass(frozen=True, slots=True)
class Beamline:
    """A beamline ready to scan.

    Attributes:
        engine: the RunEngine; stock plans work on the devices below.
        detector: the area detector, data key 'detector'.
        gauges: the other instruments, by name ('monitor', 'reactor_temperature', ...).
        shutter: open or closed.
        folder: where files go.
    """

    engine: RunEngine
    detector: AreaDetector | PlainDetector
    gauges: Mapping[str, SignalR[Any]]
    shutter: SignalRW[ShutterState]
    folder: Path

    def scan(
        self,
        *,
        frames: int,
        darks: int,
        period: float,
        metadata: Mapping[str, object],
        interrupted: Event | None = None,
        frames_per_event: int = 1,
    ) -> list[str]:
        """Run darks and frames; give the uid of the run in a list (empty if none was opened).

        An interrupted scan ends with an aborted run, not with an exception.

        Raises:
            BeamlineError: a device failed (disk full, ...); the run is closed as failed.
        """
        uids: list[str] = []
        token = self.engine.subscribe(lambda _name, doc: uids.append(doc["uid"]), "start")
        plan = darks_then_frames(
            self.detector,
            list(self.gauges.values()),
            self.shutter,
            frames=frames,
            darks=darks,
            period=period,
            metadata=metadata,
            interrupted=interrupted,
            frames_per_event=frames_per_event,
        )
        try:
            self.engine(plan)
        except RunEngineInterrupted:
            pass
        except FailedStatus as error:
            raise BeamlineError(f"the scan has failed: {_cause(error)}") from error
        finally:
            self.engine.unsubscribe(token)
        return uids


def assemble(
    scene: Scene,
    folder: Path,
    gauges: Sequence[str],
    callbacks: Sequence[Callback] = (),
    frames_as: FramesAs = FramesAs.HDF5,
) -> Beamline:
    """Build the RunEngine and the devices.

    Args:
        scene: what stands before the detector.
        folder: files go to its subfolder `frames`, the truth to `truth.jsonl`.
        gauges: names of the readings that go into each event ('pattern_index' is an integer).
        callbacks: subscribed in this order, after the truth file.
        frames_as: how frames are stored and announced.
    """
    # Without context managers the RunEngine leaves signals to whoever runs it.
    engine = RunEngine({}, context_managers=[])
    devices: dict[str, SignalR[Any]] = {}
    setters: dict[str, Callable[[float], None]] = {}
    for name in gauges:
        devices[name], setters[name] = _gauge(name)
    paths = StaticPathProvider(UUIDFilenameProvider(), (folder / "frames").resolve())
    with init_devices():
        shutter = soft_signal_rw(ShutterState, ShutterState.OPEN, name="shutter")
        detector: AreaDetector | PlainDetector
        if frames_as.is_plain:
            detector = PlainDetector(scene, shutter, setters, paths, frames_as)
        else:
            detector = AreaDetector(scene, shutter, setters, paths, frames_as=frames_as)

    def truth() -> Mapping[str, object]:
        last = detector.camera.last
        return {} if last is None else last.truth

    engine.subscribe(TruthLog(folder / "truth.jsonl", truth))
    for callback in callbacks:
        engine.subscribe(callback)
    return Beamline(engine, detector, devices, shutter, folder)


def _cause(error: FailedStatus) -> str:
    """Say what lies at the bottom of a failed status."""
    status: Any = error.args[0] if error.args else None
    deepest: BaseException = (status.exception() if hasattr(status, "exception") else None) or error
    while (below := deepest.__cause__) is not None:
        deepest = below
    return one_line(deepest)


def _gauge(name: str) -> tuple[SignalR[Any], Callable[[float], None]]:
    if name.endswith("_index"):
        signal, set_integer = soft_signal_r_and_setter(int, name=name)
        return signal, lambda value: set_integer(int(value))
    return soft_signal_r_and_setter(float, name=name, units=UNITS.get(name))
