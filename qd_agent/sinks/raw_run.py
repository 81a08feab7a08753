"""A raw run as Tiled keeps it, turned back into the documents that announced it.

Tiled joins stream_datum documents and forgets which rows of a file they named, and of streams that
share a stream_resource it keeps the array with one of them only. Where one stream has a file to
itself, its events are its rows, in order; where several share one (dark and light frames), the
times of all their events give the order, if there are as many events as rows. Else the frames of
that file are not announced: none is better than a light one taken for a dark one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
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


def _events_of(streams: Sequence[RawStream]) -> list[Document]:
    return [("event", _event_document(e, stream.uid)) for stream in streams for e in stream.events]


def _frames_of(data_key: str, sharing: Sequence[RawStream], run_uid: str) -> list[Document]:
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


def _rows(sharing: Sequence[RawStream], count: int) -> list[tuple[RawStream, int]]:
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


def _resource(uid: str, run_uid: str, data_key: str, dataset: RawDataset) -> dict[str, object]:
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


def _event_document(event: RawEvent, descriptor: str) -> dict[str, object]:
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
