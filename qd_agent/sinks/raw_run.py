"""A raw run as Tiled keeps it, turned back into the documents that announced it.

Tiled joins stream_datum documents and forgets which rows of a file they named, and of streams that
share a stream_resource it keeps the array with one of them only. Images that travelled inside of
events it keeps as one array a stream. Where one stream has a file to
itself, its events are its rows, in order; where several share one (dark and light frames), the
times of all their events give the order, if there are as many events as rows. Else the frames of
that file are not announced: none is better than a light one taken for a dark one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any
from urllib.parse import unquote

from qd_agent.core.errors import BadFrame
from qd_agent.core.ports import Document
from qd_agent.sinks.tiled_table import read_table

_MAX_EVENTS = 1_000_000
_SEQUENCE = "multipart/related"
_NUMBERED = re.compile(r"(?P<folder>.*/)(?P<before>[^/]*?)(?P<number>\d+)(?P<after>[^/\d]*)")
MAX_INLINE_BYTES = 256 << 20
"""Images out of events, taken in at once; of a run with more, the last ones wait for their turn."""


@dataclass(frozen=True, slots=True)
class _Event:
    seq_num: int
    time: float
    data: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class _Dataset:
    """Where the rows of a detector lie, and how many events of one or more streams they are."""

    count: int
    uri: str
    mimetype: str
    parameters: Mapping[str, object]

    @property
    def file(self) -> tuple[str, str]:
        named = self.parameters.get("dataset") or self.parameters.get("template")
        return self.uri, str(named)


@dataclass(frozen=True, slots=True)
class _Stream:
    """An event stream: its descriptor, its events, and its detectors' data as Tiled keeps it.

    `has_all` is false when events are left out for now, since their images are too many at once.
    """

    descriptor: Mapping[str, Any]
    events: Sequence[_Event]
    datasets: Mapping[str, _Dataset]
    has_all: bool = True

    @property
    def uid(self) -> str:
        return str(self.descriptor["uid"])

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


def documents_of(
    catalog: Any, run_uid: str, had: Mapping[str, int] | None = None
) -> list[Document] | None:
    """Give the documents of a run, whoever has written it; the stop only when it has stopped.

    Args:
        catalog: client of the container of raw runs.
        run_uid: the run.
        had: how many events are known already, by descriptor; their images are left out.

    Returns:
        The documents, or None when the catalog does not have the run.

    Raises:
        BadFrame: it is not laid out as Bluesky's runs are, or is another run.
        httpx and client errors, for `tiled_link.translated`.
    """
    if not run_uid or "/" in run_uid:
        return None
    try:
        node = find_child(catalog, run_uid)
        documents = None if node is None else _documents(node, had)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        what = f"{type(error).__name__}: {error}"[:200]
        raise BadFrame(f"the run as Tiled has it cannot be understood ({what})") from error
    if documents is not None and documents[0][1]["uid"] != run_uid:
        raise BadFrame("what Tiled has under the run's name is another run")
    return documents


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


def _documents(node: Any, had: Mapping[str, int] | None) -> list[Document] | None:
    metadata = dict(node.metadata)
    start = metadata.get("start")
    if not isinstance(start, Mapping):
        return None
    run_uid = str(start["uid"])
    streams = [_stream(name, child, run_uid, had) for name, child in streams_of(node).items()]
    documents: list[Document] = [("start", dict(start))]
    documents += [("descriptor", dict(stream.descriptor)) for stream in streams]
    # As in a live run, what was read before the frames (a baseline) is told before them.
    telling = [s for s in streams if not s.has_frames]
    documents += _events_of(telling)
    for data_key in dict.fromkeys(key for stream in streams for key in stream.detectors):
        sharing = [stream for stream in streams if data_key in stream.detectors]
        documents += _frames_of(data_key, sharing, run_uid)
    documents += _events_of([s for s in streams if s.has_frames])
    stop = metadata.get("stop")
    # Who says what was had comes again for the rest, and gets the stop then.
    comes_again = had is not None and not all(stream.has_all for stream in streams)
    if isinstance(stop, Mapping) and not comes_again:
        documents.append(("stop", dict(stop)))
    return documents


def _events_of(streams: Sequence[_Stream]) -> list[Document]:
    return [("event", _event_document(e, stream.uid)) for stream in streams for e in stream.events]


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


def _descriptor(name: str, stream: Any, run_uid: str) -> dict[str, object]:
    kept = {key: value for key, value in dict(stream.metadata).items() if not key.startswith("_")}
    kept.pop("stream_name", None)
    return {**kept, "name": name, "run_start": run_uid, "object_keys": {}}


def _events(stream: Any) -> list[_Event]:
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
        _Event(int(row["seq_num"]), float(row["time"]), {str(n): float(row[n]) for n in numbers})
        for row in table.to_dict(orient="records")
    ]


def _stream(name: str, node: Any, run_uid: str, had: Mapping[str, int] | None) -> _Stream:
    descriptor = _descriptor(name, node, run_uid)
    keys: Mapping[str, Mapping[str, Any]] = dict(descriptor).get("data_keys") or {}  # pyright: ignore[reportAssignmentType] - Tiled's metadata
    datasets = {
        str(key): found
        for key, declared in keys.items()
        if declared.get("external") and (found := _dataset(node, key, declared)) is not None
    }
    events = _events(node)
    images = [key for key, declared in keys.items() if _is_inline_image(declared)]
    full = _with_images(node, events, images, (had or {}).get(str(descriptor["uid"]), 0))
    return _Stream(descriptor, full, datasets, has_all=len(full) == len(events))


def _is_inline_image(declared: Mapping[str, Any]) -> bool:
    shape = declared.get("shape") or ()
    return not declared.get("external") and declared.get("dtype") == "array" and len(shape) >= 1


def _with_images(
    stream: Any, events: Sequence[_Event], keys: Sequence[str], had: int
) -> list[_Event]:
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


def _dataset(stream: Any, key: str, declared: Mapping[str, Any]) -> _Dataset | None:
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
    return _Dataset(count, uris[0], mimetype, dict(source.parameters))


def _sequence(uris: Sequence[str], count: int, mimetype: str) -> _Dataset | None:
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
    return _Dataset(count, folder, mimetype, parameters)


def _frames_of(data_key: str, sharing: Sequence[_Stream], run_uid: str) -> list[Document]:
    """Announce the frames of one detector, in all streams that have it."""
    found = [
        (stream, stream.datasets[data_key]) for stream in sharing if data_key in stream.datasets
    ]
    files = list(dict.fromkeys(dataset.file for _, dataset in found))
    if len(files) > 1 and len(found) < len(sharing):
        return []  # one of the files holds the frames of a stream that does not say which
    documents: list[Document] = []
    for file in files:
        datasets = [dataset for _, dataset in found if dataset.file == file]
        members = sharing if len(files) == 1 else [s for s, d in found if d.file == file]
        rows = _rows(members, sum(dataset.count for dataset in datasets))
        resource = f"resource-{run_uid}-{data_key}-{files.index(file)}"
        documents.append(("stream_resource", _resource(resource, run_uid, data_key, datasets[0])))
        documents += [_datum(resource, s.uid, row, seq) for row, (s, seq) in enumerate(rows)]
    return documents


def _rows(sharing: Sequence[_Stream], count: int) -> list[tuple[_Stream, int]]:
    """Give stream and sequence number of every row of a file; nothing where that is not certain."""
    if len(sharing) == 1:
        (stream,) = sharing
        numbers = [event.seq_num for event in stream.events]
        if len(numbers) != count:
            numbers = list(range(1, count + 1))
        return [(stream, number) for number in numbers]
    timed = sorted(
        ((event.time, at, event.seq_num) for at, s in enumerate(sharing) for event in s.events),
        key=_first,
    )
    at_once = any(a[0] == b[0] and a[1] != b[1] for a, b in pairwise(timed))
    if len(timed) != count or at_once:
        return []
    return [(sharing[at], number) for _, at, number in timed]


def _first(row: tuple[float, int, int]) -> float:
    return row[0]


def _resource(uid: str, run_uid: str, data_key: str, dataset: _Dataset) -> dict[str, object]:
    return {
        "uid": uid,
        "run_start": run_uid,
        "data_key": data_key,
        "mimetype": dataset.mimetype,
        "uri": dataset.uri,
        "parameters": dict(dataset.parameters),
    }


def _datum(resource: str, descriptor: str, row: int, number: int) -> Document:
    return "stream_datum", {
        "uid": f"datum-{resource}-{row}",
        "stream_resource": resource,
        "descriptor": descriptor,
        "indices": {"start": row, "stop": row + 1},
        "seq_nums": {"start": number, "stop": number + 1},
    }


def _event_document(event: _Event, descriptor: str) -> dict[str, object]:
    finite = {
        name: value
        for name, value in event.data.items()
        if not (isinstance(value, float) and math.isnan(value))
    }
    return {
        "uid": f"event-{descriptor}-{event.seq_num}-{event.time!r}",
        "descriptor": descriptor,
        "seq_num": event.seq_num,
        "time": event.time,
        "data": finite,
        "timestamps": dict.fromkeys(finite, event.time),
        "filled": {},
    }
