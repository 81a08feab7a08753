"""What documents say of a run's frames: an event, and where a file holds the frames of some."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

import numpy as np

from qd_agent.documents.layout import Descriptor, ImageKey
from qd_agent.documents.resources import Resource


@dataclass(frozen=True, slots=True)
class Event:
    """What a frame takes from its event: time (UTC epoch s) and scalar readings by data key."""

    uid: str
    seq_num: int
    time: float
    readings: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Announced:
    """One event's frames of one detector, in a file.

    Attributes:
        descriptor: of the event.
        key: the detector.
        resource: the dataset.
        index: of the event's frames along the dataset, counted in events.
        seq_num: of the event.
        time: UTC epoch s at which it was announced.
        take: 0, or 1, 2 ... when the event was taken again (a rewound plan).
    """

    descriptor: Descriptor
    key: ImageKey
    resource: Resource
    index: int
    seq_num: int
    time: float
    take: int = 0


@dataclass(frozen=True, slots=True)
class Datum:
    """A stream_datum: indices [start, stop) of a dataset hold the events seq_num, seq_num + 1 ...

    Attributes:
        descriptor: of the events.
        resource: the dataset.
        start: first index.
        stop: one beyond the last index.
        seq_num: sequence number of the event at `start`.
        time: UTC epoch s at which the document came.
    """

    descriptor: Descriptor
    resource: Resource
    start: int
    stop: int
    seq_num: int
    time: float


Waiting = tuple[Descriptor, ImageKey, Event]
"""An event whose datum has not come, and the detector that it names it for."""


def scalar_readings(data: Mapping[str, object]) -> dict[str, float]:
    """Give the finite numbers of an event's data by data key; flags and text are no readings."""
    readings: dict[str, float] = {}
    for name, value in data.items():
        if isinstance(value, (int, float, np.integer, np.floating)) and type(value) is not bool:
            try:
                reading = float(value)
            except OverflowError:
                continue
            if isfinite(reading):
                readings[name] = reading
    return readings


def images_of(value: object, key: ImageKey) -> np.ndarray | None:
    """Give an event's images, shape (frames, ...), or None when they are no such array.

    The other sizes are left to the reader, which reports a mismatch as a bad frame.
    """
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError):  # ragged rows, integers beyond 64 bits
        return None
    axes = len(key.shape)
    if array.ndim == axes:
        array = array[np.newaxis]
    if array.dtype.kind not in "buif" or array.ndim != axes + 1 or array.shape[0] != key.frames:
        return None
    return array
