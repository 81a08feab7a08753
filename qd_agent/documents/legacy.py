"""Frames in resource and datum documents, as detectors announced them before stream_resource.

An event names a datum, the datum a place in a resource, and the resource a file (AD_HDF5,
AD_HDF5_SWMR) or a sequence of numbered files (AD_TIFF, AD_HDF5_SINGLE). What they mean is what
area-detector-handlers make of them; here nothing is opened, and no format string is run.
"""

from __future__ import annotations

import posixpath
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast
from urllib.parse import quote

from qd_agent.core.errors import BadFrame
from qd_agent.core.frame import Hdf5Location, Location, NoLocation, TiffLocation
from qd_agent.documents.layout import ImageKey
from qd_agent.documents.schema import LARGEST, bounded, mapping
from qd_agent.documents.templates import FileTemplate, read_template

MAX_RESOURCES = 10_000
"""Resources remembered; beyond it the oldest are forgotten."""
USED_DATUMS = 1000
"""Datums remembered once an event has named them: read again untriggered, a detector names the
same one."""

DEFAULT_DATASET = "/entry/data/data"
"""Where areaDetector's HDF5 plugin puts frames."""

_ONE_FILE = frozenset({"AD_HDF5", "AD_HDF5_SWMR", "AD_HDF5_SWMR_STREAM", "AD_HDF5_SWMR_SLICE"})
_FILES = frozenset({"AD_TIFF", "AD_HDF5_SINGLE"})


@dataclass(frozen=True, slots=True)
class Datum:
    """A place in a resource; `point` counts events, `frame` frames; None where it is not said."""

    resource: str
    point: int | None = None
    frame: int | None = None
    dataset: str = ""


@dataclass(frozen=True, slots=True)
class LegacyResource:
    """A resource document: where its files are, and what is in them.

    Attributes:
        spec: the kind of resource.
        uri: of the file, or of the folder of the files.
        frames: frames of one event (`frame_per_point`).
        dataset: path of the dataset, '' for TIFF.
        template: names of the files; None when all frames lie in one.
        trouble: why its frames cannot be read, '' when they can.
    """

    spec: str
    uri: str = ""
    frames: int = 1
    dataset: str = ""
    template: FileTemplate | None = None
    trouble: str = ""

    def location(self, key: ImageKey, datum: Datum, frame: int) -> Location:
        """Say where frame `frame` of an event lies, or why it cannot be said."""
        if self.trouble:
            return NoLocation(missing=self.trouble)
        if key.frames != self.frames:
            return NoLocation(
                missing=f"its resource has {self.frames} frames a point, its descriptor declares "
                f"{key.frames} frames an event"
            )
        if datum.frame is not None:
            place = datum.frame + frame
        elif datum.point is not None:
            place = datum.point * self.frames + frame
        else:
            return NoLocation(missing="its datum names neither a point_number nor a frame")
        uri, row = self.uri, place
        if self.template is not None:
            uri, row = self.template.uri(self.uri, place), 0
        dataset = datum.dataset or self.dataset
        if dataset:
            return Hdf5Location(uri=uri, dataset=dataset, row=row)
        return TiffLocation(uri=uri, page=row)


class LegacyAssets:
    """What resource and datum documents have said, until an event asks for it.

    Args:
        max_datums: datums remembered; beyond it the oldest are forgotten.
    """

    def __init__(self, max_datums: int) -> None:
        self._max_datums = max_datums
        self._resources: OrderedDict[str, LegacyResource] = OrderedDict()
        self._datums: OrderedDict[str, Datum] = OrderedDict()
        self._used: OrderedDict[str, Datum] = OrderedDict()

    def add_resource(self, doc: Mapping[str, object]) -> None:
        """Take in a valid resource document; of a kind that is not known, it is remembered so.

        Raises:
            BadFrame: a text too long to be kept.
        """
        uid = bounded(str(doc["uid"]), "uid")
        self._resources.setdefault(uid, read_legacy_resource(doc))
        while len(self._resources) > MAX_RESOURCES:
            self._resources.popitem(last=False)

    def add_datums(self, doc: Mapping[str, object]) -> list[str]:
        """Take in a valid datum or datum_page document; give the ids of its datums.

        Raises:
            BadFrame: a text too long to be kept, or columns of different lengths.
        """
        found = dict(_datums(doc))
        self._datums.update(found)
        while len(self._datums) > self._max_datums:
            self._datums.popitem(last=False)
        return list(found)

    def find(self, datum_id: str) -> tuple[LegacyResource, Datum] | None:
        """Give resource and datum; None while one of them is not known."""
        datum = self._datums.get(datum_id) or self._used.get(datum_id)
        resource = None if datum is None else self._resources.get(datum.resource)
        if datum is None or resource is None:
            return None
        self._datums.pop(datum_id, None)
        self._used[datum_id] = datum
        self._used.move_to_end(datum_id)
        while len(self._used) > USED_DATUMS:
            self._used.popitem(last=False)
        return resource, datum


def read_legacy_resource(doc: Mapping[str, object]) -> LegacyResource:
    """Read a valid resource document; what makes it unreadable is noted in it.

    Raises:
        BadFrame: a text too long to be kept.
    """
    spec = bounded(str(doc["spec"]), "spec").upper()
    kwargs = mapping(doc, "resource_kwargs")
    frames = kwargs.get("frame_per_point", 1)
    if spec not in _ONE_FILE | _FILES:
        known = ", ".join(sorted(_ONE_FILE | _FILES))
        return LegacyResource(
            spec[:40], trouble=f"resources of kind {spec[:40]!r} cannot be read; {known} can"
        )
    if type(frames) is not int or not 1 <= frames < LARGEST:
        return LegacyResource(spec, trouble=f"its frame_per_point is {str(frames)[:40]!r}")
    dataset = "" if spec == "AD_TIFF" else str(kwargs.get("dataset") or DEFAULT_DATASET)
    uri = _uri(doc, is_folder=spec in _FILES)
    if spec not in _FILES:
        return LegacyResource(spec, uri, frames, bounded(dataset, "dataset"))
    if spec == "AD_HDF5_SINGLE" and isinstance(kwargs.get("key"), str):
        dataset = bounded(str(kwargs["key"]), "dataset")
    try:
        names = read_template(str(kwargs.get("template", "")), str(kwargs.get("filename", "")))
    except BadFrame as error:
        return LegacyResource(spec, trouble=str(error))
    return LegacyResource(spec, uri, frames, dataset, names)


def _uri(doc: Mapping[str, object], *, is_folder: bool) -> str:
    """Join root and path as a file URI; `..` is left in it for the reader to judge.

    A path that begins with '/' is still one within its root, unless it names the root itself.
    """
    root, path = str(doc.get("root") or ""), str(doc["resource_path"])
    if doc.get("path_semantics") == "windows":
        root, path = root.replace("\\", "/"), path.replace("\\", "/")
    folder = posixpath.normpath(root).rstrip("/") + "/"
    inside = not root or posixpath.normpath(path).startswith(folder)
    whole = path if inside else posixpath.join(root, path.lstrip("/"))
    if not whole.startswith("/"):  # a drive, or relative to nobody knows what
        whole = "/" + whole
    if is_folder:
        whole = whole.rstrip("/") + "/"
    return bounded("file://localhost" + quote(whole, safe="/:"), "path")


def _datums(doc: Mapping[str, object]) -> list[tuple[str, Datum]]:
    resource, ids = bounded(str(doc["resource"]), "uid"), doc["datum_id"]
    if not isinstance(ids, list):
        return [(bounded(str(ids), "datum_id"), _datum(resource, mapping(doc, "datum_kwargs")))]
    names = [bounded(str(name), "datum_id") for name in cast("list[object]", ids)]
    columns = cast("Mapping[str, list[object]]", mapping(doc, "datum_kwargs"))
    if any(len(column) != len(names) for column in columns.values()):
        raise BadFrame("datum_page has columns of different lengths")
    return [
        (name, _datum(resource, {key: column[row] for key, column in columns.items()}))
        for row, name in enumerate(names)
    ]


def _datum(resource: str, kwargs: Mapping[str, object]) -> Datum:
    return Datum(
        resource,
        _whole(kwargs.get("point_number")),
        _whole(kwargs.get("frame")),
        bounded(str(kwargs.get("dataset") or ""), "dataset"),
    )


def _whole(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < LARGEST else None
