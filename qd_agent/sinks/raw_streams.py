"""The event streams of a raw run as Tiled keeps them: descriptors, events, and where pixels lie.

Tiled keeps images that travelled inside of events as one array a stream; they are put into their
events again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote

from qd_agent.sinks.raw_descriptors import descriptors_of
from qd_agent.sinks.tiled_table import read_table

_MAX_EVENTS = 1_000_000
_SEQUENCE = "multipart/related"
_NUMBERED = re.compile(r"(?P<folder>.*/)(?P<before>[^/]*?)(?P<number>\d+)(?P<after>[^/\d]*)")
MAX_INLINE_BYTES = 256 << 20
"""Images out of events, taken in at once; of a run with more, the last ones wait for their turn."""


@dataclass(frozen=True, slots=True)
class RawEvent:
    """An event: its number, its time (UTC epoch s), and its readings by data key."""

    seq_num: int
    time: float
    data: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class RawDataset:
    """Where the rows of a detector lie, and how many events of one or more streams they are."""

    count: int
    uri: str
    mimetype: str
    parameters: Mapping[str, object]

    @property
    def file(self) -> tuple[str, str]:
        """The URI, and the dataset or the names of files in it."""
        named = self.parameters.get("dataset") or self.parameters.get("template")
        return self.uri, str(named)


@dataclass(frozen=True, slots=True)
class RawStream:
    """An event stream: its descriptors, its events, and its detectors' data as Tiled keeps it.

    `has_all` is false when events are left out for now, since their images are too many at once.
    """

    descriptors: Sequence[Mapping[str, Any]]
    events: Sequence[RawEvent]
    datasets: Mapping[str, RawDataset]
    has_all: bool = True

    @property
    def descriptor(self) -> Mapping[str, Any]:
        """The first descriptor; later ones differ in their configuration alone."""
        return self.descriptors[0]

    @property
    def uid(self) -> str:
        """The first descriptor's uid."""
        return str(self.descriptor["uid"])

    def descriptor_at(self, time: float) -> str:
        """Give the uid of the descriptor that an event of this time (UTC epoch s) is of."""
        later = (str(d["uid"]) for d in reversed(self.descriptors[1:]) if d["time"] <= time)
        return next(later, self.uid)

    @property
    def detectors(self) -> list[str]:
        """The data keys whose pixels lie in files."""
        keys: Mapping[str, Mapping[str, object]] = self.descriptor.get("data_keys", {})
        return [str(name) for name, key in keys.items() if key.get("external")]

    @property
    def has_frames(self) -> bool:
        """Whether pixels belong to its events, in files or inside of them."""
        keys: Mapping[str, Mapping[str, Any]] = self.descriptor.get("data_keys", {})
        return bool(self.detectors) or any(map(_is_inline_image, keys.values()))


def find_child(node: Any, key: str) -> Any | None:
    """Give exactly this child of a container in Tiled, or None.

    Clients of runs also take the beginning of a uid, and warn of names that they have renamed.
    """
    from tiled.client.container import Container  # noqa: PLC0415 - seconds

    try:
        return Container.__getitem__(node, key)
    except KeyError:
        return None


def _children(node: Any) -> dict[str, Any]:
    from tiled.client.container import Container  # noqa: PLC0415 - seconds

    return {str(name): Container.__getitem__(node, name) for name in Container.__iter__(node)}


def streams_of(node: Any) -> dict[str, Any]:
    """Give the event streams as plain containers, whatever client Tiled wraps them in."""
    named = _children(node)
    if set(named) == {"streams"} and not _is_stream(named["streams"]):  # as earlier writers did
        named = _children(named["streams"])
    return {
        name: getattr(stream, "base", stream)
        for name, stream in named.items()
        if _is_stream(stream)
    }


def _is_stream(node: Any) -> bool:
    return any(spec.name == "BlueskyEventStream" for spec in node.specs)


def _events(stream: Any) -> list[RawEvent]:
    if "internal" not in stream:
        return []
    table = read_table(stream["internal"])
    if not {"seq_num", "time"} <= set(table.columns) or len(table) > _MAX_EVENTS:
        return []
    numbers = [
        name
        for name in table.columns
        if name not in ("seq_num", "time")
        and not str(name).startswith("ts_")
        and table[name].dtype.kind in "iuf"
    ]
    return [
        RawEvent(int(row["seq_num"]), float(row["time"]), {str(n): float(row[n]) for n in numbers})
        for row in table.to_dict(orient="records")
    ]


def read_stream(name: str, node: Any, run_uid: str, had: Mapping[str, int] | None) -> RawStream:
    """Read one event stream of a run; of events that are `had` the images are left out.

    Raises:
        KeyError, TypeError, ValueError: it is not laid out as Bluesky's streams are.
        httpx and client errors, for `tiled_link.translated`.
    """
    descriptors = descriptors_of(dict(node.metadata), name, run_uid)
    keys: Mapping[str, Mapping[str, Any]] = descriptors[0].get("data_keys") or {}  # pyright: ignore[reportAssignmentType] - Tiled's metadata
    datasets = {
        str(key): found
        for key, declared in keys.items()
        if declared.get("external") and (found := _dataset(node, key, declared)) is not None
    }
    events = _events(node)
    images = [key for key, declared in keys.items() if _is_inline_image(declared)]
    known = sum((had or {}).get(str(descriptor["uid"]), 0) for descriptor in descriptors)
    full = _with_images(node, events, images, known)
    return RawStream(descriptors, full, datasets, has_all=len(full) == len(events))


def _is_inline_image(declared: Mapping[str, Any]) -> bool:
    shape = declared.get("shape") or ()
    return not declared.get("external") and declared.get("dtype") == "array" and len(shape) >= 1


def _with_images(
    stream: Any, events: Sequence[RawEvent], keys: Sequence[str], had: int
) -> list[RawEvent]:
    """Put the arrays that came inside of events into them again, from number `had` on.

    Events whose array Tiled does not have yet are left out, and so is what follows them.
    """
    arrays = {key: node for key in keys if (node := find_child(stream, key)) is not None}
    if not arrays or len(events) <= had:
        return list(events)
    each = sum(_row_bytes(node) for node in arrays.values())
    stop = min([len(events), *(int(node.shape[0]) for node in arrays.values())])
    stop = min(stop, had + max(1, MAX_INLINE_BYTES // max(1, each)))
    if stop <= had:
        return list(events[:had])
    parts = {key: node[had:stop] for key, node in arrays.items()}
    late = [
        replace(event, data={**event.data, **{key: part[row] for key, part in parts.items()}})
        for row, event in enumerate(events[had:stop])
    ]
    return [*events[:had], *late]


def _row_bytes(node: Any) -> int:
    return int(node.dtype.itemsize) * math.prod(int(size) for size in node.shape[1:])


def _dataset(stream: Any, key: str, declared: Mapping[str, Any]) -> RawDataset | None:
    """Give the one dataset of a detector; None where it has none, or several files."""
    node = find_child(stream, key)
    if node is None:
        return None
    sources = node.data_sources()
    shape, per_event = tuple(node.shape), tuple(declared.get("shape", ()))
    if not sources or not shape or not per_event:
        return None
    source = sources[0]
    stacked = len(shape) == len(per_event) + 1 or len(per_event) == 2
    count = int(shape[0]) if stacked else int(shape[0]) // int(per_event[0])
    mimetype = str(source.mimetype)
    uris = [str(a.data_uri) for a in sorted(source.assets, key=lambda asset: asset.num or 0)]
    if mimetype.startswith(_SEQUENCE):
        return _sequence(uris, count, mimetype)
    if len(uris) != 1:
        return None
    return RawDataset(count, uris[0], mimetype, dict(source.parameters))


def _sequence(uris: Sequence[str], count: int, mimetype: str) -> RawDataset | None:
    """Give a sequence of files, numbered from 0 on; None where they are named otherwise."""
    named = _NUMBERED.fullmatch(uris[0]) if uris else None
    if named is None or count < 1 or len(uris) % count or int(named["number"]):
        return None
    folder, before, number, after = named.group("folder", "before", "number", "after")
    padded = len({len(uri) for uri in uris}) == 1
    digits = f"0{len(number)}d" if padded else "d"
    if any(uri != f"{folder}{before}{k:{digits}}{after}" for k, uri in enumerate(uris)):
        return None
    names = f"{unquote(before)}{{:{digits}}}{unquote(after)}"
    parameters = {"template": names, "files_per_datum": len(uris) // count}
    return RawDataset(count, folder, mimetype, parameters)
