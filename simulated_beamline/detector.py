"""The area detector, the shutter and the gauges, as ophyd-async devices.

From the documents' point of view the detector is a real one: one stream_resource per staging, then
a stream_datum before each event, and an HDF5 file that other processes read while it grows (SWMR).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ophyd_async.core import (
    DetectorAcquireLogic,
    DetectorDataLogic,
    DetectorTriggerLogic,
    PathProvider,
    SignalR,
    SignalRW,
    StandardDetector,
    StreamableDataProvider,
    StreamResourceDataProvider,
    StreamResourceInfo,
    StrictEnum,
    TriggerInfo,
    soft_signal_r_and_setter,
    soft_signal_rw,
)

from simulated_beamline.formats import FramesAs
from simulated_beamline.frame_file import DATASET, FrameStore, open_store
from simulated_beamline.scenes import Scene, Shot


class ShutterState(StrictEnum):
    """The photon shutter."""

    OPEN = "open"
    CLOSED = "closed"


class Camera:
    """What the three logics of the detector share: the scene, the open file, the counters.

    Attributes:
        scene: where frames come from.
        shutter: whether there is beam.
        last: the latest exposure with beam, for the truth file.
    """

    def __init__(
        self,
        scene: Scene,
        shutter: SignalRW[ShutterState],
        gauges: Mapping[str, Callable[[float], None]],
        frames_as: FramesAs = FramesAs.HDF5,
    ) -> None:
        self.scene = scene
        self.frames_as = frames_as
        self.shutter = shutter
        self.last: Shot | None = None
        self.written, self._set_written = soft_signal_r_and_setter(int)
        self.acquire_time = soft_signal_rw(float, 0.1, units="s")
        self.exposures = 1
        self.period = 0.0
        self._gauges = gauges
        self._file: FrameStore | None = None
        self._shots = {True: 0, False: 0}

    def open_file(self, path: Path) -> FrameStore:
        """Start a new file, or a sequence of files."""
        self._file = open_store(path, self.scene.shape, self.scene.dtype, self.frames_as)
        self._set_written(0)
        return self._file

    def close_file(self) -> None:
        """Finish the file, if one is open."""
        if self._file is not None:
            self._file.close()
            self._file = None

    async def expose(self) -> None:
        """Take the planned number of exposures, paced by the acquisition period."""
        clock = asyncio.get_running_loop()
        due = clock.time()
        for _ in range(self.exposures):
            due += self.period
            beam = await self.shutter.get_value() is ShutterState.OPEN
            # Pixels are made and written beside the event loop, so that the scan never stutters.
            shot = await asyncio.to_thread(self._take, beam)
            await asyncio.sleep(max(due - clock.time(), 0.0))
            for name, value in shot.readings.items():
                if name in self._gauges:
                    self._gauges[name](value)
            self._set_written(self._file.written if self._file else 0)

    def _take(self, beam: bool) -> Shot:
        if self._file is None:
            raise RuntimeError("the detector is not staged")
        shot = self.scene.shoot(self._shots[beam], beam=beam)
        self._file.append(shot.image)
        self._shots[beam] += 1
        if beam:
            self.last = shot
        return shot


class _Trigger(DetectorTriggerLogic):
    def __init__(self, camera: Camera) -> None:
        self._camera = camera

    def config_sigs(self) -> set[SignalR[Any]]:
        return {self._camera.acquire_time}

    async def prepare_internal(self, num: int, livetime: float, deadtime: float) -> None:
        self._camera.exposures = num
        self._camera.period = livetime + deadtime
        if livetime > 0.0:
            await self._camera.acquire_time.set(livetime)

    async def default_trigger_info(self) -> TriggerInfo:
        return TriggerInfo()


class _Acquire(DetectorAcquireLogic):
    def __init__(self, camera: Camera) -> None:
        self._camera = camera
        self._task: asyncio.Task[None] | None = None

    async def start_acquiring(self) -> None:
        if self._camera.exposures == 1:
            # One exposure is awaited here, so that its error (disk full, ...) is the scan's error.
            await self._camera.expose()
        else:
            self._task = asyncio.create_task(self._camera.expose())

    async def wait_for_idle(self) -> None:
        if self._task is not None:
            await self._task

    async def ensure_stopped(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None


class _Data(DetectorDataLogic):
    def __init__(self, camera: Camera, path_provider: PathProvider) -> None:
        self._camera = camera
        self._path_provider = path_provider

    async def prepare_unbounded(self, datakey_name: str) -> StreamableDataProvider:
        info = self._path_provider(datakey_name)
        path = Path(info.directory_path) / f"{info.filename}.h5"
        self._camera.open_file(path)
        scene, is_tiff = self._camera.scene, self._camera.frames_as.is_tiff
        hdf5 = {"dataset": DATASET, "swmr": self._camera.frames_as is not FramesAs.HDF5_CLOSED}
        frames = StreamResourceInfo(
            data_key=datakey_name,
            shape=scene.shape,
            chunk_shape=(1, *scene.shape),
            dtype_numpy=scene.dtype.str,
            parameters={"template": info.filename + "_{:06d}.tiff"} if is_tiff else hdf5,
            source=f"sim://{datakey_name}",
        )
        return StreamResourceDataProvider(
            uri=str(info.directory_uri) + ("" if is_tiff else f"{info.filename}.h5"),
            resources=[frames],
            mimetype="multipart/related;type=image/tiff" if is_tiff else "application/x-hdf5",
            collections_written_signal=self._camera.written,
        )

    async def stop(self) -> None:
        self._camera.close_file()

    def get_hinted_fields(self, datakey_name: str) -> Sequence[str]:
        return [datakey_name]


class AreaDetector(StandardDetector):
    """An area detector that writes the frames of a scene.

    Args:
        scene: where frames come from.
        shutter: whether there is beam.
        gauges: setters of the other instruments, by the name of their reading; they are set when
            an exposure ends, so that the event holds what belongs to the frame.
        path_provider: where files go.
        name: device name, and data key of the frames.
        frames_as: how frames are stored; one whose frames come in a stream.
    """

    def __init__(
        self,
        scene: Scene,
        shutter: SignalRW[ShutterState],
        gauges: Mapping[str, Callable[[float], None]],
        path_provider: PathProvider,
        name: str = "detector",
        *,
        frames_as: FramesAs = FramesAs.HDF5,
    ) -> None:
        self.camera = Camera(scene, shutter, gauges, frames_as)
        self.acquire_time = self.camera.acquire_time
        self.add_detector_logics(
            _Trigger(self.camera), _Acquire(self.camera), _Data(self.camera, path_provider)
        )
        super().__init__(name=name)
