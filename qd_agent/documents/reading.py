"""What documents say about events and frames, read out of them one at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import cast

from qd_agent.core.errors import BadFrame
from qd_agent.core.frame import FrameReference, Happening
from qd_agent.documents.events import Event, scalar_readings
from qd_agent.documents.run import Run
from qd_agent.documents.schema import LARGEST, mapping, number, whole


def expected_frames(
    run: Run, events: Mapping[str, int], streams: Collection[str]
) -> dict[str, int]:
    """Count the frames in a run's events, per followed stream, as its descriptors declare them."""
    per_event: dict[str, int] = {}
    for descriptor in run.descriptors.values():
        if descriptor.stream in streams:
            frames = sum(key.frames for key in descriptor.images.values())
            per_event[descriptor.stream] = max(frames, per_event.get(descriptor.stream, 0))
    # Clipped like the counts themselves: a product of giants is beyond 64 bits.
    return {
        stream: min(LARGEST, frames * events.get(stream, 0)) for stream, frames in per_event.items()
    }


def read_range(doc: Mapping[str, object], key: str, lowest: int) -> tuple[int, int]:
    """Give start and stop of a range in a stream_datum.

    Raises:
        BadFrame: it begins below `lowest`, or ends before it begins.
    """
    limits = cast("Mapping[str, int]", doc[key])
    start = whole(limits["start"], f"start of {key}", lowest)
    return start, whole(limits["stop"], f"stop of {key}", start)


def read_event(doc: Mapping[str, object]) -> Event:
    """Read an event document.

    Raises:
        BadFrame: a number in it is none.
    """
    seq = whole(doc["seq_num"], "seq_num of an event", 1)
    readings = scalar_readings(mapping(doc, "data"))
    return Event(str(doc["uid"]), seq, number(doc, "time"), readings)


def in_order(frames: Iterable[FrameReference]) -> list[Happening]:
    """Sort frames by their sequence number."""

    def order(frame: FrameReference) -> tuple[int, str, str, int]:
        key = frame.key
        return key.seq_num, key.stream, key.data_key, key.index

    return [*sorted(frames, key=order)]


def unpack_page(page: Mapping[str, object]) -> list[dict[str, object]]:
    """Split an event_page into its events.

    Raises:
        BadFrame: its columns are not equally long.
    """
    columns = {key: cast("list[object]", page[key]) for key in ("uid", "seq_num", "time")}
    tables = {
        key: cast("Mapping[str, list[object]]", mapping(page, key))
        for key in ("data", "timestamps", "filled")
    }
    length = len(columns["uid"])
    lengths = {len(column) for column in columns.values()}
    lengths.update(len(column) for table in tables.values() for column in table.values())
    if lengths != {length}:
        raise BadFrame("event_page has columns of different lengths")
    return [
        {
            "descriptor": page["descriptor"],
            **{key: column[row] for key, column in columns.items()},
            **{
                key: {name: column[row] for name, column in table.items()}
                for key, table in tables.items()
            },
        }
        for row in range(length)
    ]
