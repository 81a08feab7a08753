"""What descriptors say frames look like: the data keys that hold them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import prod
from typing import cast

from qd_agent.core.errors import BadFrame
from qd_agent.documents.schema import bounded, checked_name


@dataclass(frozen=True, slots=True)
class ImageKey:
    """A data key that holds frames.

    Attributes:
        name: the data key.
        shape: of one frame: (height, width), or (channels,) of a strip detector.
        frames: frames in one event.
        dtype: numpy dtype string as declared, or None.
        external: whether the pixels lie in a file rather than in the event.
    """

    name: str
    shape: tuple[int, ...]
    frames: int
    dtype: str | None
    external: bool


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What the router needs of a descriptor.

    Attributes:
        uid: of the document.
        stream: name of the event stream.
        images: the frames' data keys, empty when the stream is not followed.
        has_readings: whether its events carry values of their own; such events are waited for.
        dark_since: of a stream of darks, when it was declared, UTC epoch s: its events are waited
            for too, since the age of a dark counts, and this is its time where none comes.
    """

    uid: str
    stream: str
    images: Mapping[str, ImageKey]
    has_readings: bool
    dark_since: float | None = None

    @property
    def waits(self) -> bool:
        """Whether frames wait for their event."""
        return self.has_readings or self.dark_since is not None

    @property
    def external(self) -> list[ImageKey]:
        """The keys whose pixels lie in files."""
        return [key for key in self.images.values() if key.external]

    @property
    def inline(self) -> list[ImageKey]:
        """The keys whose pixels lie in the events."""
        return [key for key in self.images.values() if not key.external]


def read_descriptor(
    doc: Mapping[str, object],
    streams: Collection[str],
    data_keys: Collection[str] | None,
    strips: Collection[str],
    max_frames: int,
) -> Descriptor:
    """Read a valid descriptor document.

    Args:
        doc: the document.
        streams: names of the streams that are followed.
        data_keys: the detectors' data keys, or None for every key with a 2-D shape.
        strips: data keys of the detectors that have one axis.
        max_frames: most frames that one event may hold.

    Raises:
        BadFrame: a name that no frame's key can carry, or too many frames an event.
    """
    stream = bounded(str(doc.get("name", "")), "stream")
    keys = cast("Mapping[str, Mapping[str, object]]", doc["data_keys"])
    images: dict[str, ImageKey] = {}
    if stream in streams:
        checked_name(stream, "stream")
        for name, key in keys.items():
            wanted = data_keys is None or name in data_keys or name in strips
            image = _image_key(name, key, 1 if name in strips else 2) if wanted else None
            if image is not None and image.frames > max_frames:
                raise BadFrame(
                    f"data key {name!r} declares {image.frames} frames in each event, more than "
                    f"max_waiting_frames = {max_frames}"
                )
            if image is not None:
                images[name] = image
    internal = any(not key.get("external") for key in keys.values())
    return Descriptor(str(doc["uid"]), stream, images, internal)


def _image_key(name: str, key: Mapping[str, object], axes: int) -> ImageKey | None:
    """Read a data key; None when what it declares is no frame of known size."""
    shape = key.get("shape")
    # ophyd-async calls what has one axis a number, strips too.
    kinds = {"array", "number"} if axes == 1 else {"array"}
    if key.get("dtype") not in kinds or not isinstance(shape, (list, tuple)):
        return None
    sizes = list(cast("list[object]", shape))
    if not axes <= len(sizes) <= axes + 1 or any(type(s) is not int or s < 1 for s in sizes):
        return None
    numbers = cast("list[int]", sizes)
    dtype = key.get("dtype_numpy")
    return ImageKey(
        name=checked_name(name, "data key"),
        shape=tuple(numbers[-axes:]),
        frames=prod(numbers[:-axes]),
        dtype=dtype if isinstance(dtype, str) and dtype else None,
        external=bool(key.get("external")),
    )
