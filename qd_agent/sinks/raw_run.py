"""A raw run as Tiled keeps it, turned back into the documents that announced it.

Tiled joins stream_datum documents and forgets which rows of a file they named, and of streams that
share a stream_resource it keeps the array with one of them only. Where one stream has a file to
itself, its events are its rows, in order; where several share one (dark and light frames), the
times of all their events give the order, if there are as many events as rows. Else the frames of
that file are not announced: none is better than a light one taken for a dark one.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from operator import itemgetter
from typing import Any

from qd_agent.core.errors import BadFrame
from qd_agent.core.ports import Document
from qd_agent.sinks.raw_streams import (
    RawDataset,
    RawEvent,
    RawStream,
    find_child,
    read_stream,
    streams_of,
)


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


def _documents(node: Any, had: Mapping[str, int] | None) -> list[Document] | None:
    metadata = dict(node.metadata)
    start = metadata.get("start")
    if not isinstance(start, Mapping):
        return None
    run_uid = str(start["uid"])
    streams = [read_stream(name, child, run_uid, had) for name, child in streams_of(node).items()]
    documents: list[Document] = [("start", dict(start))]
    documents += [("descriptor", dict(d)) for stream in streams for d in stream.descriptors]
    # As in a live run, what was read before the frames (a baseline) is told before them.
    for stream in streams:
        if not stream.has_frames:
            documents += [("event", _event_document(e, stream)) for e in stream.events]
    stop = metadata.get("stop")
    documents += _frames_of(streams, run_uid, is_open=not isinstance(stop, Mapping))
    # Who says what was had comes again for the rest, and gets the stop then.
    comes_again = had is not None and not all(stream.has_all for stream in streams)
    if isinstance(stop, Mapping) and not comes_again:
        documents.append(("stop", dict(stop)))
    return documents


def _frames_of(streams: Sequence[RawStream], run_uid: str, *, is_open: bool) -> list[Document]:
    """Announce the frames of every detector, and tell the events of their streams.

    Where a stream has a row for each of its events, each row is told before its event, as live: an
    event that was taken again (a rewound plan) has the number of the first one.
    """
    documents: list[Document] = []
    rows: dict[str, dict[str, list[_Datum]]] = {}
    for data_key in dict.fromkeys(key for stream in streams for key in stream.detectors):
        sharing = [stream for stream in streams if data_key in stream.detectors]
        for resource, theirs in _files_of(data_key, sharing, run_uid, is_open=is_open):
            documents.append(("stream_resource", resource))
            for stream, row, number in theirs:
                datum = _datum(str(resource["uid"]), stream.uid, row, number)
                rows.setdefault(stream.uid, {}).setdefault(data_key, []).append(datum)
    told: list[tuple[float, list[Document]]] = []
    for stream in streams:
        if stream.has_frames:
            told += _rows_and_events(stream, list(rows.get(stream.uid, {}).values()))
    return documents + [
        document for _, some in sorted(told, key=itemgetter(0)) for document in some
    ]


def _rows_and_events(
    stream: RawStream, rows: Sequence[Sequence[_Datum]]
) -> list[tuple[float, list[Document]]]:
    """Tell each event after its rows of every detector, where these match; else after all.

    With the time of each event, or of a later one before it, so that what several streams have in
    one file comes in the order of its rows.
    """
    numbers = [event.seq_num for event in stream.events]
    matching = all(
        [doc["seq_nums"]["start"] for _, doc in some] == numbers[: len(some)] for some in rows
    )
    events = [("event", _event_document(event, stream)) for event in stream.events]
    if not matching:
        # Of which configuration a row is, its event's time tells: none is better than a wrong one.
        certain = [datum for some in rows for datum in some if len(stream.descriptors) == 1]
        return [(0.0, [*certain, *events])]
    told: list[tuple[float, list[Document]]] = []
    latest = 0.0  # UTC epoch s
    for place, (event, document) in enumerate(zip(stream.events, events, strict=True)):
        latest, descriptor = max(latest, event.time), document[1]["descriptor"]
        mine = [some[place] for some in rows if place < len(some)]
        data = [(name, {**doc, "descriptor": descriptor}) for name, doc in mine]
        told.append((latest, [*data, document]))
    return told


_Row = tuple[RawStream, int, int]
"""Stream, row of the file, sequence number."""
_Datum = tuple[str, dict[str, Any]]


def _files_of(
    data_key: str, sharing: Sequence[RawStream], run_uid: str, *, is_open: bool
) -> list[tuple[dict[str, object], list[_Row]]]:
    """Give the files of one detector, in all streams that have it, and what their rows are."""
    found = [
        (stream, stream.datasets[data_key]) for stream in sharing if data_key in stream.datasets
    ]
    files = list(dict.fromkeys(dataset.file for _, dataset in found))
    if len(files) > 1 and len(found) < len(sharing):
        return []  # one of the files holds the frames of a stream that does not say which
    made: list[tuple[dict[str, object], list[_Row]]] = []
    for file in files:
        datasets = [dataset for _, dataset in found if dataset.file == file]
        members = sharing if len(files) == 1 else [s for s, d in found if d.file == file]
        rows = _rows(members, sum(dataset.count for dataset in datasets), is_open=is_open)
        # Named by what it is: a run that goes on may get files that come before it.
        named = hashlib.sha256("\0".join(file).encode(errors="surrogatepass")).hexdigest()[:16]
        resource = _resource(f"resource-{run_uid}-{data_key}-{named}", run_uid, data_key, datasets)
        made.append((resource, [(s, row, seq) for row, (s, seq) in enumerate(rows)]))
    return made


def _rows(
    sharing: Sequence[RawStream], count: int, *, is_open: bool
) -> list[tuple[RawStream, int]]:
    """Give stream and sequence number of every row of a file; nothing where that is not certain.

    Of a run that goes on, rows and events may be of two moments: what both have is certain.
    """
    if len(sharing) == 1:
        (stream,) = sharing
        numbers = [event.seq_num for event in stream.events]
        if numbers and is_open:
            numbers = numbers[:count]
        elif len(numbers) != count:
            numbers = list(range(1, count + 1))
        return [(stream, number) for number in numbers]
    timed = sorted(
        ((event.time, at, event.seq_num) for at, s in enumerate(sharing) for event in s.events),
        key=itemgetter(0),
    )
    at_once = any(a[0] == b[0] and a[1] != b[1] for a, b in pairwise(timed))
    if len(timed) != count or at_once:
        return []
    return [(sharing[at], number) for _, at, number in timed]


def _resource(
    uid: str, run_uid: str, data_key: str, datasets: Sequence[RawDataset]
) -> dict[str, object]:
    dataset = datasets[0]
    return {
        "uid": uid,
        "run_start": run_uid,
        "data_key": data_key,
        "mimetype": dataset.mimetype,
        "uri": dataset.uri,
        "parameters": dict(dataset.parameters),
    }


def _datum(resource: str, descriptor: str, row: int, number: int) -> tuple[str, dict[str, Any]]:
    return "stream_datum", {
        "uid": f"datum-{resource}-{row}-{number}-{descriptor}",
        "stream_resource": resource,
        "descriptor": descriptor,
        "indices": {"start": row, "stop": row + 1},
        "seq_nums": {"start": number, "stop": number + 1},
    }


def _event_document(event: RawEvent, stream: RawStream) -> dict[str, object]:
    finite = {
        name: value
        for name, value in event.data.items()
        if not (isinstance(value, float) and math.isnan(value))
    }
    return {
        "uid": f"event-{stream.uid}-{event.seq_num}-{event.time!r}",
        "descriptor": stream.descriptor_at(event.time),
        "seq_num": event.seq_num,
        "time": event.time,
        "data": finite,
        "timestamps": dict.fromkeys(finite, event.time),
        "filled": {},
    }
