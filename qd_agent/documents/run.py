"""One run's frames: which are announced, which wait for their event, which are missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from qd_agent.core.errors import BadFrame
from qd_agent.core.frame import FrameKey, FrameReference, InlineLocation, Location
from qd_agent.documents.events import Announced, Datum, Event, Waiting, images_of
from qd_agent.documents.layout import Descriptor, ImageKey
from qd_agent.documents.ranges import Ranges
from qd_agent.documents.resources import Resource
from qd_agent.documents.track import MAX_BREAKS, Track

OUT_OF_TILED = "event-"
"""How the uids of events begin that were read out of Tiled or the books, which do not keep them."""
MAX_NAMES = 10_000
"""Most descriptors, and most stream_resources, of one run."""


class Run:
    """State of one open run; gone when the run stops."""

    def __init__(self, uid: str, max_waiting: int) -> None:
        self.uid = uid
        self.max_waiting = max_waiting
        self.descriptors: dict[str, Descriptor] = {}
        self.resources: dict[str, Resource | None] = {}
        self.has_metadata = False
        self.waiting_frames = 0
        self._claims: dict[tuple[str, str], Ranges] = {}
        self._unknown: dict[str, str] = {}
        self._strange: dict[str, set[tuple[str, str]]] = {}
        self._users: dict[tuple[str, str], set[str]] = {}
        self._tracks: dict[tuple[str, str], Track] = {}
        self._waiting: dict[tuple[str, int], list[Announced]] = {}
        self._events: dict[tuple[str, int], Event] = {}
        self._inline_uids: dict[tuple[str, str, int], list[tuple[str, float]]] = {}
        # By datum, then by event and detector: who waits for it.
        self.awaited: dict[str, dict[tuple[str, str], Waiting]] = {}

    def track(self, stream: str, data_key: str) -> Track:
        """Give the track of a detector in a stream."""
        return self._tracks.setdefault((stream, data_key), Track())

    def claims(self, resource: Resource) -> Ranges:
        """Give the indices of a dataset that belong to some event, whichever stream it is of."""
        return self._claims.setdefault(resource.file, Ranges())

    def has_unknown_files(self, stream: str) -> bool:
        """Tell whether rows of a stream were announced in a dataset that nothing else named."""
        return any(s == stream and uid not in self.resources for uid, s in self._unknown.items())

    def announce_unknown(self, stream: str, resource_uid: str) -> None:
        """Remember that a stream has rows in a dataset of which nothing is known yet."""
        if len(self._unknown) < MAX_NAMES:
            self._unknown[resource_uid] = stream

    def announce_strange(self, descriptor_uid: str, resource_uid: str) -> None:
        """Remember that a dataset has rows of a stream whose descriptor has not come yet."""
        resource = self.resources.get(resource_uid)
        if resource is not None and len(self._strange) < MAX_NAMES:
            self._strange.setdefault(descriptor_uid, set()).add(resource.file)

    def has_strange_rows(self, file: tuple[str, str]) -> bool:
        """Tell whether a dataset (URI, path in the file) has rows of a stream nobody knows."""
        return any(
            file in files for uid, files in self._strange.items() if uid not in self.descriptors
        )

    def users(self, file: tuple[str, str]) -> frozenset[str]:
        """Give the streams that have announced rows of a dataset (URI, path in the file)."""
        return frozenset(self._users.get(file, ()))

    def claimed(self, file: tuple[str, str]) -> int:
        """Count the indices of a dataset (URI, path in the file) that belong to some event."""
        return self._claims[file].count if file in self._claims else 0

    def announce(self, datum: Datum) -> Iterator[FrameReference]:
        """Take in a stream_datum.

        Indices that were skipped just before it, no more than sequence numbers were skipped,
        were announced by a document that was lost: they are in the file and are taken in as
        well. Other gaps may belong to another stream of the same file; they are left until the
        stop document tells how many events each stream has.

        Raises:
            BadFrame: too many frames at once; nothing has changed.
        """
        claims = self.claims(datum.resource)
        if claims.pieces > MAX_BREAKS:
            raise BadFrame(f"the run has more than {MAX_BREAKS} gaps in the indices of a dataset")
        key = datum.descriptor.images.get(datum.resource.data_key)
        users = self._users.setdefault(datum.resource.file, set())
        if key is None:
            users.add(datum.descriptor.stream)
            claims.add(datum.start, datum.stop)
            return
        frames = (datum.stop - datum.start) * key.frames
        if frames > self.max_waiting:
            raise BadFrame(
                f"stream_datum of {key.name!r} announces {frames} frames at once, more than "
                f"max_waiting_frames = {self.max_waiting}"
            )
        track = self.track(datum.descriptor.stream, key.name)
        start, seq = datum.start, datum.seq_num
        skipped = claims.gap_below(start, 0)
        lost = track.seen.gap_below(seq, 1)
        alone = users <= {datum.descriptor.stream}
        # In a shared file only an unbroken relation proves that the gap is all this stream's.
        proven = track.place(seq) == (start, datum.resource) and skipped == lost
        if (proven or (alone and skipped <= lost)) and skipped * key.frames <= self.max_waiting:
            start, seq = start - skipped, seq - skipped
        track.relate(seq, datum.stop - start, start, datum.resource)
        users.add(datum.descriptor.stream)
        for first, last in claims.add(start, datum.stop):
            for index in range(first, last):
                yield from self.take(
                    Announced(
                        datum.descriptor,
                        key,
                        datum.resource,
                        index=index,
                        seq_num=seq - start + index,
                        time=datum.time,
                    )
                )

    def take(self, announced: Announced) -> Iterator[FrameReference]:
        """Take in one event's frames; give them when its event is known or says nothing."""
        descriptor, seq = announced.descriptor, announced.seq_num
        track = self.track(descriptor.stream, announced.key.name)
        if not track.seen.add(seq, seq + 1):
            track.takes[seq] = track.takes.get(seq, 0) + 1
            announced = replace(announced, take=track.takes[seq])
        # An event taken again is followed by an event of its own; the first one's is not its.
        event = None if announced.take else self._events.get((descriptor.stream, seq))
        if event is not None or not descriptor.waits:
            yield from self._frames(announced, event)
            self._forget_if_done(descriptor, seq)
        else:
            self._waiting.setdefault((descriptor.stream, seq), []).append(announced)
            self.waiting_frames += announced.key.frames
            yield from self._release_excess()

    def event(
        self, descriptor: Descriptor, event: Event, data: Mapping[str, object]
    ) -> Iterator[FrameReference]:
        """Take in an event: give the frames that waited for it and those inside it."""
        waiting = self._pop((descriptor.stream, event.seq_num))
        # Where an event was taken again before the first one's document came, either may be it.
        certain = len({announced.take for announced in waiting}) <= 1
        for announced in waiting:
            yield from self._frames(announced, event if certain else replace(event, readings={}))
        for key in descriptor.images.values():
            # What lies in a file is named by text, unless somebody has filled it in already.
            value = data.get(key.name)
            if key.name in data and not (key.external and isinstance(value, str)):
                yield from self._inline_frames(descriptor, key, event, value)
        if descriptor.external:
            self._events[descriptor.stream, event.seq_num] = self._certain(descriptor, event)
            self._forget_if_done(descriptor, event.seq_num)
            if len(self._events) > self.max_waiting:
                del self._events[next(iter(self._events))]

    def _certain(self, descriptor: Descriptor, event: Event) -> Event:
        """Give the event; without readings where another one of its number waits for frames."""
        other = self._events.get((descriptor.stream, event.seq_num), event)
        is_same = event.uid == other.uid or event.time == other.time
        return event if is_same else replace(other, readings={})

    def release(self, *, darks_only: bool = False) -> Iterator[FrameReference]:
        """Give every frame (or dark) that still waits, without readings, in order."""
        for name in sorted(self._waiting):
            if darks_only and self._waiting[name][0].descriptor.dark_since is None:
                continue
            for announced in self._pop(name):
                yield from self._frames(announced, None)

    def _pop(self, name: tuple[str, int]) -> list[Announced]:
        found = self._waiting.pop(name, [])
        self.waiting_frames -= sum(announced.key.frames for announced in found)
        return found

    def _release_excess(self) -> Iterator[FrameReference]:
        while self.waiting_frames > self.max_waiting:
            for announced in self._pop(next(iter(self._waiting))):
                yield from self._frames(announced, None)

    def _forget_if_done(self, descriptor: Descriptor, seq: int) -> None:
        """Drop an event when every detector's frames of it are known."""
        if all(seq in self.track(descriptor.stream, key.name).seen for key in descriptor.external):
            self._events.pop((descriptor.stream, seq), None)

    def _key(self, stream: str, key: ImageKey, seq: int, take: int, frame: int) -> FrameKey:
        index = take * key.frames + frame
        return FrameKey(
            run_uid=self.uid, stream=stream, data_key=key.name, seq_num=seq, index=index
        )

    def _frames(self, announced: Announced, event: Event | None) -> Iterator[FrameReference]:
        key, resource = announced.key, announced.resource
        since = announced.descriptor.dark_since
        unknown = announced.time if since is None else since
        for frame in range(key.frames):
            yield FrameReference(
                key=self._key(
                    announced.descriptor.stream, key, announced.seq_num, announced.take, frame
                ),
                time=unknown if event is None else event.time,
                location=resource.location(key, announced.index, frame),
                shape=key.shape,
                dtype=key.dtype,
                readings={} if event is None else dict(event.readings),
                descriptor=announced.descriptor.uid,
            )

    def _inline_frames(
        self, descriptor: Descriptor, key: ImageKey, event: Event, value: object
    ) -> Iterator[FrameReference]:
        images = images_of(value, key)
        for frame, reference in enumerate(
            self.named_frames(descriptor, key, event, lambda _: InlineLocation())
        ):
            yield replace(reference, array=None if images is None else images[frame])

    def named_frames(
        self,
        descriptor: Descriptor,
        key: ImageKey,
        event: Event,
        place: Callable[[int], Location],
    ) -> Iterator[FrameReference]:
        """Give the frames that an event itself holds or names; once, however often it comes.

        Args:
            descriptor: of the event.
            key: the detector.
            event: the event.
            place: says where each of its frames is.
        """
        uids = self._inline_uids.setdefault((descriptor.stream, key.name, event.seq_num), [])
        if _is_known(event, uids):
            return
        uids.append((event.uid, event.time))
        if key.external:
            self.track(descriptor.stream, key.name).seen.add(event.seq_num, event.seq_num + 1)
        for frame in range(key.frames):
            yield FrameReference(
                key=self._key(descriptor.stream, key, event.seq_num, len(uids) - 1, frame),
                time=event.time,
                location=place(frame),
                shape=key.shape,
                dtype=key.dtype,
                readings=dict(event.readings),
                descriptor=descriptor.uid,
            )

    def remember(self, key: FrameKey, when: float) -> None:
        """Take a frame for known whose event an earlier process took; its uid was not kept."""
        uids = self._inline_uids.setdefault((key.stream, key.data_key, key.seq_num), [])
        if (OUT_OF_TILED, when) not in uids:
            uids.append((OUT_OF_TILED, when))


def _is_known(event: Event, known: Sequence[tuple[str, float]]) -> bool:
    """Tell whether an event has come before; Tiled and the books forget uids, and keep times."""
    return any(
        uid == event.uid or (when == event.time and OUT_OF_TILED in (uid[:6], event.uid[:6]))
        for uid, when in known
    )
