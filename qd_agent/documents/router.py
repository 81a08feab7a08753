"""Turns a stream of documents into what happens: runs open, frames are taken, runs close."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import cast

from qd_agent.core.errors import BadFrame
from qd_agent.core.frame import FrameKey, FrameReference, Happening, RunClosed, RunOpened
from qd_agent.documents.events import Datum
from qd_agent.documents.layout import read_descriptor
from qd_agent.documents.metadata import Metadata
from qd_agent.documents.metadata_settings import MetadataSettings
from qd_agent.documents.named import NamedFrames
from qd_agent.documents.reading import (
    expected_frames,
    in_order,
    read_event,
    read_range,
    unpack_page,
)
from qd_agent.documents.recovery import held_in_files, recover
from qd_agent.documents.resources import read_resource
from qd_agent.documents.run import MAX_NAMES, Run
from qd_agent.documents.schema import (
    LARGEST,
    MAX_TEXT,
    bounded,
    mapping,
    number,
    text,
    validate,
)
from qd_agent.documents.settings import RouterSettings

CLOSED_RUNS_REMEMBERED = 1000


class Router:
    """Follows runs from their documents alone; does no I/O.

    A frame is given once: as soon as its event is known, so that it carries the event's time and
    readings; at once when its stream's events carry nothing of their own; at the latest when the
    run stops, then without readings and with the time at which it was announced. Frames whose
    announcement was lost are found by the gap that they leave, or by the stop document's count.
    A sequence number that is taken again (another row of the file) gets further indices.

    A document that raises changes nothing.

    Attributes:
        strangers: documents so far that named a descriptor or resource of which nothing is known.
    """

    def __init__(
        self,
        settings: RouterSettings,
        clock: Callable[[], float] | None = time.time,
        metadata: MetadataSettings | None = None,
    ) -> None:
        """Start with no runs.

        Args:
            settings: streams, data keys and limits.
            clock: UTC epoch s; it dates frames whose event is unknown. None: by the latest time
                that a document stated, for runs of the past.
            metadata: which paths say what a frame was taken with.
        """
        self._settings = settings
        self._streams = frozenset([*settings.streams, *settings.dark_streams])
        self._lights = frozenset(settings.streams)
        self._said = 0.0
        self._clock = clock or (lambda: self._said)
        self._metadata = Metadata(metadata or MetadataSettings())
        self._runs: OrderedDict[str, Run] = OrderedDict()
        self._run_of: dict[str, Run] = {}
        self._named = NamedFrames(settings.max_waiting_frames)
        self._closed: deque[str] = deque(maxlen=CLOSED_RUNS_REMEMBERED)
        self.strangers = 0
        self._handlers: dict[str, Callable[[Mapping[str, object]], list[Happening]]] = {
            "start": self._start,
            "descriptor": self._descriptor,
            "stream_resource": self._stream_resource,
            "stream_datum": self._stream_datum,
            "event": self._event,
            "event_page": self._event_page,
            "resource": self._resource,
            "datum": self._datum,
            "datum_page": self._datum,
            "stop": self._stop,
        }

    def open_runs(self) -> tuple[str, ...]:
        """Give the uids of the open runs, the one silent for longest first."""
        return tuple(self._runs)

    def follows(self, run_uid: str) -> bool:
        """Tell whether a run is open and has declared frames that are to be sized or are darks."""
        run = self._runs.get(run_uid)
        return run is not None and any(d.images for d in run.descriptors.values())

    def datasets(self, run_uid: str) -> list[tuple[str, str]]:
        """Give the datasets (URI, path in the file) that an open run has announced.

        Sequences of files are not among them.
        """
        run = self._runs.get(run_uid)
        resources = [] if run is None else [r for r in run.resources.values() if r is not None]
        return list(dict.fromkeys((r.uri, r.dataset) for r in resources if r.countable))

    def catch_up(
        self, run_uid: str, lengths: Mapping[tuple[str, str], int]
    ) -> tuple[list[Happening], str]:
        """Take in the frames of a quiet run that its files hold and no document announced.

        Frames that were announced wait for their event no longer. New ones are taken only of
        streams that have their files to themselves and are no darks: what else lies in a file is
        known when the stop document tells how many events each stream has.

        Args:
            run_uid: the run.
            lengths: number of frames in each of its datasets.

        Returns:
            The frames, and in a few words what was found.
        """
        run = self._runs.get(run_uid)
        if run is None:
            return [], "no document of it is known"
        held = held_in_files(run, lengths, frozenset(self._settings.streams))
        known = run.waiting_frames
        frames = self._metadata.complete(
            in_order([*recover(run, held.events, self._clock()), *run.release()])
        )
        if len(frames) > known:
            return frames, f"its files hold {len(frames) - known} frames that nobody announced"
        return frames, held.text

    def route(self, name: str, doc: Mapping[str, object]) -> list[Happening]:
        """Take in one document; give what happened, frames in order of their sequence number.

        Documents of unknown kinds, streams or descriptors give nothing.

        Raises:
            BadFrame: the document is against its schema, contradicts the run or is beyond a
                limit; it was ignored.
        """
        handler = self._handlers.get(name)
        if handler is None:
            return []
        if not isinstance(cast("object", doc), Mapping):
            raise BadFrame(f"invalid {name} document: it is no map")
        validate(name, doc)
        if isinstance(doc.get("time"), int | float):
            self._said = number(doc, "time")
        return self._metadata.complete(self._after_their_darks(handler(doc)))

    def waiting_darks(self) -> list[Happening]:
        """Give the darks of all runs that wait for their event; they do so no longer."""
        darks = [d for run in self._runs.values() for d in run.release(darks_only=True)]
        return self._metadata.complete(darks)

    def remember(self, taken: Iterable[tuple[FrameKey, float]]) -> None:
        """Take frames for known that an earlier process took, by key and time (UTC epoch s).

        That tells an event which comes again from one of its number that was taken again.
        """
        for key, when in taken:
            run = self._runs.get(key.run_uid)
            if run is not None:
                run.remember(key, when)

    def _after_their_darks(self, happenings: list[Happening]) -> list[Happening]:
        """Let a run's darks wait for their events no longer once a frame needs them."""
        made: list[Happening] = []
        for happening in happenings:
            if isinstance(happening, FrameReference) and happening.key.stream in self._lights:
                run = self._runs.get(happening.key.run_uid)
                made += () if run is None else run.release(darks_only=True)
            made.append(happening)
        return made

    def _start(self, doc: Mapping[str, object]) -> list[Happening]:
        uid, when = text(doc, "uid"), number(doc, "time")
        if uid in self._closed:
            return []
        run, opened = self._open(uid, when)
        if run.has_metadata:
            return opened
        run.has_metadata = True
        return [*opened[:-1], RunOpened(uid, when, self._metadata.start(uid, doc))]

    def _open(self, uid: str, when: float) -> tuple[Run, list[Happening]]:
        """Give the run; when it is new, also RunOpened (and the end of one run too many)."""
        run = self._runs.get(uid)
        if run is not None:
            self._runs.move_to_end(uid)
            return run, []
        happenings: list[Happening] = []
        if len(self._runs) >= self._settings.max_open_runs:
            oldest = next(iter(self._runs))
            reason = f"no stop document came while {len(self._runs)} other runs started"
            assumed = RunClosed(oldest, when, "fail", reason, {}, assumed=True)
            happenings = self._close(oldest, assumed)
        run = self._runs[uid] = Run(uid, self._settings.max_waiting_frames)
        return run, [*happenings, RunOpened(uid, when, {})]

    def _close(self, uid: str, closed: RunClosed) -> list[Happening]:
        run = self._runs.pop(uid)
        for descriptor_uid in run.descriptors:
            del self._run_of[descriptor_uid]
        self._closed.append(uid)
        late = [*recover(run, closed.expected, closed.time), *run.release()]
        frames = expected_frames(run, closed.expected, self._streams)
        return [*in_order(late), replace(closed, frames=frames)]

    def _descriptor(self, doc: Mapping[str, object]) -> list[Happening]:
        uid, run_uid, when = str(doc["uid"]), text(doc, "run_start"), number(doc, "time")
        if run_uid in self._closed:
            return []
        bounded(uid, "uid")
        descriptor = read_descriptor(
            doc,
            self._streams,
            self._settings.data_keys,
            self._settings.strips,
            self._settings.max_waiting_frames,
        )
        owner = self._run_of.get(uid)
        if owner is not None:
            if owner.uid != run_uid:
                raise BadFrame(f"descriptor {uid[:40]!r} is already one of run {owner.uid}")
            return []
        self._check_room(run_uid)
        run, happenings = self._open(run_uid, when)
        if descriptor.stream not in self._lights:
            descriptor = replace(descriptor, dark_since=when)
        run.descriptors[uid] = descriptor
        self._run_of[uid] = run
        self._metadata.descriptor(run_uid, doc)
        return happenings

    def _stream_resource(self, doc: Mapping[str, object]) -> list[Happening]:
        run_uid = self._run_of_resource(doc)
        if run_uid in self._closed:
            return []
        wanted = self._is_wanted(run_uid, str(doc["data_key"]))
        try:
            resource = read_resource(doc)
        except BadFrame:
            if wanted:
                raise
            return []
        self._check_room(run_uid)
        run, happenings = self._open(run_uid, self._clock())
        run.resources.setdefault(resource.uid, resource)
        return happenings

    def _run_of_resource(self, doc: Mapping[str, object]) -> str:
        if doc.get("run_start"):
            return text(doc, "run_start")
        if len(self._runs) == 1:
            return next(iter(self._runs))
        raise BadFrame("stream_resource names no run_start, and which run it belongs to is unclear")

    def _is_wanted(self, run_uid: str, data_key: str) -> bool:
        run = self._runs.get(run_uid)
        return run is not None and any(data_key in d.images for d in run.descriptors.values())

    def _check_room(self, run_uid: str) -> None:
        run = self._runs.get(run_uid)
        if run is not None and max(len(run.descriptors), len(run.resources)) >= MAX_NAMES:
            raise BadFrame(f"run {run_uid} has more than {MAX_NAMES} descriptors or resources")

    def _stream_datum(self, doc: Mapping[str, object]) -> list[Happening]:
        run = self._run_of.get(str(doc["descriptor"]))
        resource = None if run is None else run.resources.get(str(doc["stream_resource"]))
        if run is None or resource is None:
            self.strangers += 1
            self._note_stranger(run, str(doc["descriptor"]), str(doc["stream_resource"]))
            return []
        start, stop = read_range(doc, "indices", 0)
        seq, seq_stop = read_range(doc, "seq_nums", 1)
        if stop - start != seq_stop - seq:
            raise BadFrame(
                f"stream_datum {str(doc['uid'])[:40]!r} has {stop - start} indices for "
                f"{seq_stop - seq} sequence numbers"
            )
        self._runs.move_to_end(run.uid)
        descriptor = run.descriptors[str(doc["descriptor"])]
        datum = Datum(descriptor, resource, start, stop, seq, self._clock())
        return in_order(run.announce(datum))

    def _note_stranger(self, run: Run | None, descriptor: str, resource: str) -> None:
        """Remember which rows are told of by a document of which one half is not known."""
        if run is not None:
            run.announce_unknown(run.descriptors[descriptor].stream, resource)
            return
        for owner in self._runs.values():
            owner.announce_strange(descriptor, resource)

    def _event(self, doc: Mapping[str, object]) -> list[Happening]:
        return self._take_events([doc])

    def _event_page(self, doc: Mapping[str, object]) -> list[Happening]:
        return self._take_events(unpack_page(doc))

    def _take_events(self, docs: Sequence[Mapping[str, object]]) -> list[Happening]:
        """Take in events of one descriptor; all are read before any of them changes the run."""
        uid = str(docs[0]["descriptor"]) if docs else ""
        run = self._run_of.get(uid)
        if run is None:
            self.strangers += 1
            return []
        if not run.descriptors[uid].images:
            self._metadata.event(run.uid, run.descriptors[uid].stream, docs[0])
            return []
        events = [read_event(doc) for doc in docs]
        self._runs.move_to_end(run.uid)
        happenings: list[Happening] = []
        for event, doc in zip(events, docs, strict=True):
            descriptor, data = run.descriptors[uid], mapping(doc, "data")
            frames = [
                *run.event(descriptor, event, data),
                *self._named.frames(run, descriptor, event, data),
            ]
            happenings.extend(in_order(frames))
        return happenings

    def _resource(self, doc: Mapping[str, object]) -> list[Happening]:
        return [*self._named.add_resource(doc, self._runs.values())]

    def _datum(self, doc: Mapping[str, object]) -> list[Happening]:
        return [*self._named.add_datums(doc, self._runs.values())]

    def _stop(self, doc: Mapping[str, object]) -> list[Happening]:
        uid, when = text(doc, "run_start"), number(doc, "time")
        if uid in self._closed:
            return []
        counts = cast("Mapping[str, int]", mapping(doc, "num_events"))
        expected = {stream: min(max(0, int(n)), LARGEST) for stream, n in counts.items()}
        closed = RunClosed(
            uid, when, str(doc["exit_status"]), str(doc.get("reason", ""))[:MAX_TEXT], expected
        )
        _, opened = self._open(uid, when)
        return [*opened, *self._close(uid, closed)]
