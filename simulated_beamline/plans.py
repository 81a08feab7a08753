"""The scan: dark frames in their own stream, then the frames, in one run."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from threading import Event
from typing import Any

from bluesky import plan_stubs as bps
from bluesky import preprocessors as bpp
from bluesky.protocols import Readable
from bluesky.utils import Msg, RequestAbort
from ophyd_async.core import SignalRW, TriggerInfo

from simulated_beamline.detector import AreaDetector, ShutterState
from simulated_beamline.formats import FramesAs
from simulated_beamline.plain_detector import PlainDetector

Plan = Generator[Msg, Any, Any]

LONGEST_SLEEP_S = 0.2
"""How soon an interrupt is noticed between two frames."""


def darks_then_frames(
    detector: AreaDetector | PlainDetector,
    gauges: Sequence[Readable[Any]],
    shutter: SignalRW[ShutterState],
    *,
    frames: int,
    darks: int,
    period: float,
    metadata: Mapping[str, object],
    interrupted: Event | None = None,
    frames_per_event: int = 1,
) -> Plan:
    """Take `darks` frames with the shutter closed (stream 'dark'), then `frames` ('primary').

    The detector is staged anew for each stream, so each has a file of its own.

    Args:
        detector: the area detector.
        gauges: devices whose values belong into each event.
        shutter: closed for the darks, open otherwise and always open in the end.
        frames: number of events (in a fly scan, which has none, of frames).
        darks: number of dark frames, may be 0.
        period: seconds from the start of one event to the start of the next.
        metadata: for the start document.
        interrupted: when set, the scan is aborted before its next frame.
        frames_per_event: frames that the detector takes for each event of 'primary'.
    """
    flies = isinstance(detector, AreaDetector) and detector.camera.frames_as is FramesAs.FLY
    devices = [detector, *gauges]
    described = {
        "plan_name": "frames",
        "detectors": [device.name for device in devices],
        "num_points": frames,
        "num_intervals": max(frames - 1, 0),
        "num_darks": darks,
        "hints": {"dimensions": [[["time"], "primary"]]},
        **metadata,
    }

    @bpp.run_decorator(md=described)
    def scan() -> Plan:
        if darks:
            yield from bps.abs_set(shutter, ShutterState.CLOSED, wait=True)
            yield from _stream([detector], "dark", darks, period, interrupted)
        yield from bps.abs_set(shutter, ShutterState.OPEN, wait=True)
        if flies:
            yield from _fly(detector, "primary", frames, period)
        else:
            yield from _stream(
                devices, "primary", frames, period, interrupted, frames_per_event=frames_per_event
            )

    def open_again() -> Plan:
        yield from bps.abs_set(shutter, ShutterState.OPEN, wait=True)

    return (yield from bpp.finalize_wrapper(scan(), open_again()))


def _fly(detector: Any, name: str, number: int, period: float) -> Plan:
    """Let the detector take `number` frames by itself: no events, and few stream_datums."""
    info = TriggerInfo(number_of_events=number, livetime=period)

    @bpp.stage_decorator([detector])
    def frames() -> Plan:
        yield from bps.prepare(detector, info, wait=True)
        yield from bps.declare_stream(detector, name=name, collect=True)
        yield from bps.kickoff(detector, wait=True)
        yield from bps.complete(detector, wait=True)
        yield from bps.collect(detector, name=name)

    yield from frames()


def _stream(
    devices: Sequence[Any],
    name: str,
    number: int,
    period: float,
    interrupted: Event | None,
    *,
    frames_per_event: int = 1,
) -> Plan:
    """Stage the devices and take `number` events in the stream `name`, one every `period`."""

    @bpp.stage_decorator(list(devices))
    def events() -> Plan:
        if frames_per_event > 1:
            info = TriggerInfo(collections_per_event=frames_per_event)
            yield from bps.prepare(devices[0], info, wait=True)
        due = time.monotonic()
        for _ in range(number):
            yield from _wait_until(due, interrupted)
            # A frame that came late does not make the next ones hurry.
            due = max(due, time.monotonic() - period) + period
            yield from bps.checkpoint()
            yield from bps.trigger_and_read(list(devices), name=name)

    yield from events()


def _wait_until(due: float, interrupted: Event | None) -> Plan:
    while True:
        if interrupted is not None and interrupted.is_set():
            raise RequestAbort("interrupted by the operator")
        if (left := due - time.monotonic()) <= 0.0:
            return
        yield from bps.sleep(min(left, LONGEST_SLEEP_S))
