"""A raw run as Tiled keeps it, turned back into the documents that announced it.

Tiled joins stream_datum documents and forgets which rows of a file they named. Where one stream
has a file to itself, its events are its rows, in order; where several share one (dark and light
frames), the times of all their events give the order, if there are as many events as rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qd_agent.core.ports import Document
from qd_agent.sinks.connections import TiledConnection
from qd_agent.sinks.settings import TiledSettings

_MAX_EVENTS = 1_000_000


@dataclass(frozen=True, slots=True)
class _Event:
    seq_num: int
    time: float
    data: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class _Part:
    """One detector of one stream: where its rows lie, and how many events they are."""

    stream: str
    data_key: str
    count: int
    uri: str
    mimetype: str
    parameters: Mapping[str, object]
    descriptor: str

    @property
    def file(self) -> tuple[str, str]:
        return self.uri, str(self.parameters.get("dataset"))

    @property
    def resource(self) -> str:
        """Uid of the stream_resource that is made up for it."""
        return f"resource-{self.descriptor}-{self.data_key}"


def raw_documents(
    settings: TiledSettings, connection: TiledConnection, run_uid: str
) -> list[Document] | None:
    """Give the documents of a run as Tiled knows it; the stop only when it has stopped.

    Returns:
        The documents, or None when Tiled does not have the run.

    Raises:
        Unavailable: Tiled is away.
        Fatal: it refuses us.
    """
    from qd_agent.sinks.tiled_link import open_tiled, translated  # noqa: PLC0415 - seconds

    path = [*(settings.raw_container.split("/") if settings.raw_container else []), run_uid]
    with translated(connection), open_tiled(connection) as root:
        node = root
        for key in path:
            node = _child(node, key) if key and "/" not in key else None
            if node is None:
                return None
        return _documents(node)


def _child(node: Any, key: str) -> Any | None:
    """Give exactly this child, or None.

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


def _documents(node: Any) -> list[Document] | None:
    metadata = dict(node.metadata)
    start = metadata.get("start")
    if not isinstance(start, Mapping):
        return None
    documents: list[Document] = [("start", dict(start))]
    parts: list[_Part] = []
    events: dict[str, list[_Event]] = {}
    for name, stream in _streams(node).items():
        descriptor = _descriptor(name, stream, str(start["uid"]))
        documents.append(("descriptor", descriptor))
        events[name] = _events(stream)
        parts += _parts(name, stream, descriptor)
    documents += [("stream_resource", _resource(part, str(start["uid"]))) for part in parts]
    documents += _datums(parts, events)
    descriptors = {part.stream: part.descriptor for part in parts}
    for name, found in events.items():
        if name in descriptors:
            documents += [("event", _event_document(event, descriptors[name])) for event in found]
    stop = metadata.get("stop")
    if isinstance(stop, Mapping):
        documents.append(("stop", dict(stop)))
    return documents


def _streams(node: Any) -> dict[str, Any]:
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
    table = stream["internal"].read()
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


def _parts(name: str, stream: Any, descriptor: Mapping[str, Any]) -> list[_Part]:
    found: list[_Part] = []
    for key, declared in dict(descriptor.get("data_keys", {})).items():
        if not declared.get("external") or key not in stream:
            continue
        sources = stream[key].data_sources()
        shape, per_event = tuple(stream[key].shape), tuple(declared.get("shape", ()))
        if not sources or len(sources[0].assets) != 1 or not shape or not per_event:
            continue
        source = sources[0]
        stacked = len(shape) == len(per_event) + 1 or len(per_event) == 2
        found.append(
            _Part(
                stream=name,
                data_key=str(key),
                count=int(shape[0]) if stacked else int(shape[0]) // int(per_event[0]),
                uri=str(source.assets[0].data_uri),
                mimetype=str(source.mimetype),
                parameters=dict(source.parameters),
                descriptor=str(descriptor["uid"]),
            )
        )
    return found


def _resource(part: _Part, run_uid: str) -> dict[str, object]:
    return {
        "uid": part.resource,
        "run_start": run_uid,
        "data_key": part.data_key,
        "mimetype": part.mimetype,
        "uri": part.uri,
        "parameters": dict(part.parameters),
    }


def _datums(parts: Sequence[_Part], events: Mapping[str, Sequence[_Event]]) -> list[Document]:
    documents: list[Document] = []
    for file in dict.fromkeys(part.file for part in parts):
        sharing = [part for part in parts if part.file == file]
        if len(sharing) == 1:
            (part,) = sharing
            numbers = [event.seq_num for event in events[part.stream]]
            if len(numbers) != part.count:
                numbers = list(range(1, part.count + 1))
            rows = [(part, number) for number in numbers]
        elif all(len(events[part.stream]) == part.count for part in sharing):
            timed = [(event, part) for part in sharing for event in events[part.stream]]
            timed.sort(key=_time)
            rows = [(part, event.seq_num) for event, part in timed]
        else:
            continue
        documents += [_datum(part, row, number) for row, (part, number) in enumerate(rows)]
    return documents


def _time(row: tuple[_Event, _Part]) -> float:
    return row[0].time


def _datum(part: _Part, row: int, number: int) -> Document:
    return "stream_datum", {
        "uid": f"datum-{part.resource}-{row}",
        "stream_resource": part.resource,
        "descriptor": part.descriptor,
        "indices": {"start": row, "stop": row + 1},
        "seq_nums": {"start": number, "stop": number + 1},
    }


def _event_document(event: _Event, descriptor: str) -> dict[str, object]:
    finite = {name: value for name, value in event.data.items() if value == value}  # noqa: PLR0124
    return {
        "uid": f"event-{descriptor}-{event.seq_num}-{event.time!r}",
        "descriptor": descriptor,
        "seq_num": event.seq_num,
        "time": event.time,
        "data": finite,
        "timestamps": dict.fromkeys(finite, event.time),
        "filled": {},
    }
