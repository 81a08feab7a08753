"""What descriptors and stream_resources say about where frames are and what they look like."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import cast

from qd_agent.core.errors import BadFrame
from qd_agent.documents.schema import bounded, checked_name, mapping

HDF5 = "application/x-hdf5"


@dataclass(frozen=True, slots=True)
class ImageKey:
    """A data key that holds frames.

    Attributes:
        name: the data key.
        height: rows of one frame.
        width: columns of one frame.
        frames: frames in one event.
        dtype: numpy dtype string as declared, or None.
        external: whether the pixels lie in a file rather than in the event.
    """

    name: str
    height: int
    width: int
    frames: int
    dtype: str | None
    external: bool


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What the router needs of a descriptor.

    Attributes:
        stream: name of the event stream.
        images: the frames' data keys, empty when the stream is not followed.
        has_readings: whether its events carry values of their own; such events are waited for.
    """

    stream: str
    images: Mapping[str, ImageKey]
    has_readings: bool

    @property
    def external(self) -> list[ImageKey]:
        """The keys whose pixels lie in files."""
        return [key for key in self.images.values() if key.external]

    @property
    def inline(self) -> list[ImageKey]:
        """The keys whose pixels lie in the events."""
        return [key for key in self.images.values() if not key.external]


@dataclass(frozen=True, slots=True)
class Resource:
    """A dataset in an HDF5 file, as a stream_resource names it."""

    uid: str
    data_key: str
    uri: str
    dataset: str


def read_descriptor(
    doc: Mapping[str, object],
    streams: Collection[str],
    data_keys: Collection[str] | None,
    max_frames: int,
) -> Descriptor:
    """Read a valid descriptor document.

    Args:
        doc: the document.
        streams: names of the streams that are followed.
        data_keys: the detectors' data keys, or None for every key with a 2-D shape.
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
            image = _image_key(name, key) if data_keys is None or name in data_keys else None
            if image is not None and image.frames > max_frames:
                raise BadFrame(
                    f"data key {name!r} declares {image.frames} frames in each event, more than "
                    f"max_waiting_frames = {max_frames}"
                )
            if image is not None:
                images[name] = image
    return Descriptor(stream, images, any(not key.get("external") for key in keys.values()))


def read_resource(doc: Mapping[str, object]) -> Resource:
    """Read a valid stream_resource document.

    Raises:
        BadFrame: not an HDF5 dataset, or a text too long to be kept.
    """
    uid, data_key = bounded(str(doc["uid"]), "uid"), bounded(str(doc["data_key"]), "data key")
    mimetype = str(doc["mimetype"])
    if mimetype != HDF5:
        raise BadFrame(
            f"frames of {data_key[:40]!r} are {mimetype[:60]!r}, which cannot be read; {HDF5} can"
        )
    dataset = mapping(doc, "parameters").get("dataset")
    if not isinstance(dataset, str) or not dataset:
        raise BadFrame(
            f"stream_resource of {data_key[:40]!r} names no dataset in its parameters; its frames "
            "cannot be found"
        )
    uri = _one_spelling(bounded(str(doc["uri"]), "URI"))
    return Resource(uid, data_key, uri, bounded(dataset, "dataset"))


def _one_spelling(uri: str) -> str:
    """Spell a local file as Tiled does, so that one file told by both is not taken for two."""
    return f"file://localhost/{uri[8:]}" if uri.startswith("file:///") else uri


def _image_key(name: str, key: Mapping[str, object]) -> ImageKey | None:
    """Read a data key; None when what it declares is no image of known size."""
    shape = key.get("shape")
    if key.get("dtype") != "array" or not isinstance(shape, (list, tuple)):
        return None
    sizes = list(cast("list[object]", shape))
    if len(sizes) not in {2, 3} or any(type(size) is not int or size < 1 for size in sizes):
        return None
    *frames, height, width = cast("list[int]", sizes)
    dtype = key.get("dtype_numpy")
    return ImageKey(
        name=checked_name(name, "data key"),
        height=height,
        width=width,
        frames=frames[0] if frames else 1,
        dtype=dtype if isinstance(dtype, str) and dtype else None,
        external=bool(key.get("external")),
    )
