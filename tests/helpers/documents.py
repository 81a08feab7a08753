"""Valid documents of a run, made with event_model's own composers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from event_model import StreamRange, compose_run

Document = tuple[str, dict]
DETECTOR = "det"
MONITOR = "monitor"
TEMPERATURE = "temperature"
READING = {"source": "sim", "dtype": "number", "shape": [], "dtype_numpy": "<f8"}


@dataclass
class RunOfDocuments:
    """Composes one run like an ophyd-async detector with a monitor: stream_datum, then event.

    `documents` grows with every call, in the order in which a RunEngine would send them.
    """

    uri: str = "file://localhost/data/run.h5"
    dataset: str = "/entry/data/data"
    shape: Sequence[int] = (1, 8, 6)
    dtype: str = "<u4"
    time: float = 1_700_000_000.0
    metadata: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._bundle = compose_run(time=self.time, metadata=dict(self.metadata))
        self.documents: list[Document] = [("start", dict(self._bundle.start_doc))]
        self.uid: str = self._bundle.start_doc["uid"]
        self._streams: dict = {}
        self._counts: dict[str, int] = {}
        self._resource = None
        self._index = 0

    def declare(
        self,
        stream: str = "primary",
        *,
        readings: bool = True,
        configuration: Mapping[str, Mapping[str, object]] | None = None,
    ) -> None:
        """Add a descriptor; without readings it is a fly scan's, nothing but external keys.

        `configuration` has the values of each object.
        """
        keys: dict = {
            DETECTOR: {
                "source": "sim",
                "dtype": "array",
                "shape": list(self.shape),
                "dtype_numpy": self.dtype,
                "external": "STREAM:",
            }
        }
        if readings:
            keys |= {MONITOR: dict(READING), TEMPERATURE: dict(READING)}
        bundle = self._bundle.compose_descriptor(
            name=stream,
            data_keys=keys,
            time=self.time,
            configuration={
                name: {"data": dict(data), "timestamps": {}, "data_keys": {}}
                for name, data in (configuration or {}).items()
            },
            validate=True,
        )
        self._streams[stream] = bundle
        self._counts.setdefault(stream, 0)
        self.documents.append(("descriptor", dict(bundle.descriptor_doc)))

    def declare_inline(self, stream: str = "primary", dtype: str = "<u2") -> None:
        """Add a descriptor whose image travels inside the event."""
        keys = {
            DETECTOR: {
                "source": "sim",
                "dtype": "array",
                "shape": list(self.shape),
                "dtype_numpy": dtype,
            },
            MONITOR: dict(READING),
        }
        bundle = self._bundle.compose_descriptor(name=stream, data_keys=keys, time=self.time)
        self._streams[stream] = bundle
        self._counts.setdefault(stream, 0)
        self.documents.append(("descriptor", dict(bundle.descriptor_doc)))

    def open_file(self, uri: str | None = None) -> None:
        """Add a stream_resource; indices start at 0 in it."""
        self._resource = self._bundle.compose_stream_resource(
            data_key=DETECTOR,
            mimetype="application/x-hdf5",
            uri=uri or self.uri,
            parameters={"dataset": self.dataset, "chunk_shape": [1, *self.shape[-2:]]},
        )
        self._index = 0
        self.documents.append(("stream_resource", dict(self._resource.stream_resource_doc)))

    def datum(self, count: int = 1, stream: str = "primary") -> None:
        """Add a stream_datum for the next `count` events."""
        seq = self._counts[stream] + 1
        doc = self._resource.compose_stream_datum(
            indices=StreamRange(start=self._index, stop=self._index + count),
            seq_nums=StreamRange(start=seq, stop=seq + count),
            descriptor=self._streams[stream].descriptor_doc,
            validate=True,
        )
        self._index += count
        self._counts[stream] += count
        self.documents.append(("stream_datum", dict(doc)))

    def event(self, seq: int | None = None, stream: str = "primary", **data: object) -> None:
        """Add the event of the latest (or the given) sequence number."""
        seq = self._counts[stream] if seq is None else seq
        keys = self._streams[stream].descriptor_doc["data_keys"]
        internal = [name for name, key in keys.items() if not key.get("external")]
        values = {name: readings_of(seq)[name] for name in internal if name != DETECTOR} | data
        when = self.time + seq
        doc = self._streams[stream].compose_event(
            data=values,
            timestamps=dict.fromkeys(values, when),
            seq_num=seq,
            time=when,
            validate=False,
        )
        self.documents.append(("event", dict(doc)))

    def shot(self, stream: str = "primary") -> None:
        """Add one step of a step scan: a stream_datum and its event."""
        self.datum(1, stream)
        self.event(stream=stream)

    def stop(self, **num_events: int) -> list[Document]:
        """Add the stop document; give all documents."""
        doc = self._bundle.compose_stop(time=self.time + 1000.0)
        self.documents.append(("stop", {**doc, "num_events": {**self._counts, **num_events}}))
        return self.documents


def readings_of(seq: int) -> dict[str, float]:
    """The readings that `RunOfDocuments` gives to the event of a sequence number."""
    return {MONITOR: 1000.0 + seq, TEMPERATURE: 20.0 + 0.5 * seq}


def step_scan(frames: int, **kwargs: object) -> list[Document]:
    """A whole run: one detector and two readings, `frames` events in stream 'primary'."""
    run = RunOfDocuments(**kwargs)  # type: ignore[arg-type]
    run.declare()
    run.open_file()
    for _ in range(frames):
        run.shot()
    return run.stop()


def scan_with_darks(darks: int, frames: int, **kwargs: object) -> list[Document]:
    """A run whose dark frames come first, in stream 'dark' of the same file."""
    run = RunOfDocuments(**kwargs)  # type: ignore[arg-type]
    run.declare("dark")
    run.open_file()
    for _ in range(darks):
        run.shot("dark")
    run.declare("primary")
    for _ in range(frames):
        run.shot()
    return run.stop()


def fly_scan(batches: Sequence[int], **kwargs: object) -> list[Document]:
    """A run without events: each batch is one stream_datum."""
    run = RunOfDocuments(**kwargs)  # type: ignore[arg-type]
    run.declare(readings=False)
    run.open_file()
    for batch in batches:
        run.datum(batch)
    return run.stop()
