"""A detector as they were before streams: each event names its frame by a datum, or holds it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

from ophyd_async.core import AsyncStatus, PathProvider, SignalRW

from simulated_beamline.detector import Camera, ShutterState
from simulated_beamline.errors import BeamlineError
from simulated_beamline.formats import FramesAs
from simulated_beamline.frame_file import FrameStore, LastFrame
from simulated_beamline.scenes import Scene

Asset = tuple[str, dict[str, Any]]


class PlainDetector:
    """Takes the frames of a scene; for each one a datum document, or the pixels in the event.

    Args:
        scene: where frames come from.
        shutter: whether there is beam.
        gauges: setters of the other instruments, by the name of their reading.
        path_provider: where files go.
        frames_as: a form that `is_plain`.
    """

    parent = None

    def __init__(
        self,
        scene: Scene,
        shutter: SignalRW[ShutterState],
        gauges: Mapping[str, Callable[[float], None]],
        path_provider: PathProvider,
        frames_as: FramesAs,
    ) -> None:
        self.name = "detector"
        self.camera = Camera(scene, shutter, gauges, frames_as)
        self.hints: dict[str, Any] = {"fields": [self.name]}
        self._paths = path_provider
        self._store: FrameStore | None = None
        self._resource = self._datum = ""
        self._assets: list[Asset] = []

    def stage(self) -> list[object]:
        """Start a new file and announce it."""
        info = self._paths(self.name)
        folder = Path(info.directory_path)
        self._store = self.camera.open_file(folder / f"{info.filename}.h5")
        if self.camera.frames_as is FramesAs.INLINE:
            return [self]
        self._resource = str(uuid.uuid4())
        kwargs: dict[str, Any] = {"frame_per_point": 1}
        spec, path = "AD_HDF5_SWMR", f"{folder.name}/{info.filename}.h5"
        if self.camera.frames_as.is_tiff:
            # Tiled adds the names to the path as it stands.
            spec, path = "AD_TIFF", f"{folder.name}/"
            kwargs |= {"template": "%s%s_%6.6d.tiff", "filename": info.filename}
        resource = {
            "uid": self._resource,
            "spec": spec,
            "root": str(folder.parent),
            "resource_path": path,
            "resource_kwargs": kwargs,
            "path_semantics": "posix",
        }
        self._assets.append(("resource", resource))
        return [self]

    def unstage(self) -> list[object]:
        """Finish the file."""
        self.camera.close_file()
        self._store = None
        return [self]

    def trigger(self) -> AsyncStatus:
        """Take one frame."""
        return AsyncStatus(self._expose())

    async def _expose(self) -> None:
        if self._store is None:
            raise BeamlineError("the detector is not staged")
        await self.camera.expose()
        number = self._store.written - 1
        self._datum = f"{self._resource}/{number}"
        if self._resource:
            datum = {
                "datum_id": self._datum,
                "resource": self._resource,
                "datum_kwargs": {"point_number": number},
            }
            self._assets.append(("datum", datum))

    def read(self) -> dict[str, Any]:
        """Give the frame, or the name of its datum."""
        value = self._store.image if isinstance(self._store, LastFrame) else self._datum
        return {self.name: {"value": value, "timestamp": time.time()}}

    def describe(self) -> dict[str, Any]:
        """Describe the frames."""
        scene = self.camera.scene
        key: dict[str, Any] = {
            "source": f"sim://{self.name}",
            "dtype": "array",
            "shape": list(scene.shape),
            "dtype_numpy": scene.dtype.str,
        }
        if self.camera.frames_as is not FramesAs.INLINE:
            key |= {"external": "FILESTORE:", "shape": [1, *scene.shape]}
        return {self.name: key}

    def read_configuration(self) -> dict[str, Any]:
        """Give nothing: it has no settings."""
        return {}

    def describe_configuration(self) -> dict[str, Any]:
        """Describe nothing."""
        return {}

    def collect_asset_docs(self) -> Generator[Asset]:
        """Give the resource and datum documents since the last call."""
        assets, self._assets = self._assets, []
        yield from assets
