"""What the stop document reveals: frames that were counted but never announced."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from qd_agent.core.frame import FrameReference
from qd_agent.documents.events import Announced
from qd_agent.documents.layout import Descriptor, ImageKey
from qd_agent.documents.resources import Resource
from qd_agent.documents.run import Run


@dataclass(frozen=True, slots=True)
class _Lost:
    """Ranges of sequence numbers of one detector in one stream that nobody announced."""

    descriptor: Descriptor
    key: ImageKey
    ranges: list[tuple[int, int]]
    time: float

    @property
    def count(self) -> int:
        """Number of events."""
        return sum(stop - start for start, stop in self.ranges)


@dataclass(frozen=True, slots=True)
class Held:
    """What the files of an open run say.

    Attributes:
        events: events per stream that must have been, by the frames that are there.
        text: what was found, in a few words.
    """

    events: Mapping[str, int]
    text: str


def held_in_files(
    run: Run, lengths: Mapping[tuple[str, str], int], streams: Collection[str]
) -> Held:
    """Count the events of each stream in `streams` that has its files to itself.

    Of several files of a detector, one in which a stream has announced nothing may be that of
    another stream, whose descriptor was lost, and so may a file be that has rows of a stream nobody
    knows: nothing is counted then.
    """
    events: dict[str, int] = {}
    shared = False
    for descriptor in run.descriptors.values():
        counts: list[int] = []
        for key in descriptor.external:
            files = {r.file for r in run.resources.values() if r and r.data_key == key.name}
            if not files or not files <= lengths.keys():
                continue
            others = {
                d.stream
                for d in run.descriptors.values()
                if d.stream != descriptor.stream and key.name in d.images
            }
            strange = any(map(run.has_strange_rows, files)) or (
                len(files) > 1 and any(descriptor.stream not in run.users(file) for file in files)
            )
            if others or strange or descriptor.stream not in streams:
                claimed = sum(run.claimed(file) for file in files)
                shared |= claimed * key.frames < sum(lengths[file] for file in files)
            else:
                counts.append(sum(lengths[file] for file in files) // key.frames)
        if counts:
            # Of several detectors, one may be a frame ahead of the others.
            events[descriptor.stream] = min(counts)
    text = "its files hold nothing new"
    if shared:
        text = "its files hold more frames, of which stream only the stop document can say"
    return Held(events, text)


def recover(run: Run, expected: Mapping[str, int], now: float) -> Iterator[FrameReference]:
    """Take in the frames that `expected` (events per stream) counts and no document announced.

    Within a file, the frames of a stream lie in the order of their sequence numbers. So a gap
    between two known frames is filled when just as many indices are unclaimed there. What is
    then left over is matched with what is left of the file, unless several streams (dark and
    light frames) miss some, or there is one whose descriptor was lost: no frame is better than a
    dark one taken for a light one.
    """
    leftovers: list[_Lost] = []
    for lost in list(_lost(run, expected, now)):
        left = yield from _between_known(run, lost)
        if left:
            leftovers.append(replace(lost, ranges=left))
    known = {descriptor.stream for descriptor in run.descriptors.values()}
    if any(count > 0 for stream, count in expected.items() if stream not in known):
        return
    for lost in leftovers:
        if sum(other.key.name == lost.key.name for other in leftovers) == 1:
            yield from _in_the_rest(run, lost)


def _lost(run: Run, expected: Mapping[str, int], now: float) -> Iterator[_Lost]:
    done: set[tuple[str, str]] = set()
    # The latest descriptor of a stream describes its last events, where losses show up late.
    for descriptor in reversed(list(run.descriptors.values())):
        for key in descriptor.external:
            if (descriptor.stream, key.name) in done:
                continue
            done.add((descriptor.stream, key.name))
            seen = run.track(descriptor.stream, key.name).seen
            ranges = seen.missing(1, expected.get(descriptor.stream, 0) + 1)
            if 0 < sum(stop - start for start, stop in ranges) * key.frames <= run.max_waiting:
                yield _Lost(descriptor, key, ranges, now)


def _between_known(run: Run, lost: _Lost) -> Generator[FrameReference, None, list[tuple[int, int]]]:
    """Fill the gaps that leave no choice; return the others."""
    track = run.track(lost.descriptor.stream, lost.key.name)
    left: list[tuple[int, int]] = []
    for start, stop in lost.ranges:
        below = track.place(start - 1) if start - 1 in track.seen else None
        above = track.place(stop) if stop in track.seen else None
        free: list[int] | None = None
        # The first event of the stream need not be the first of the file, nor has the last one
        # to be the last: such gaps are open to one side.
        if below is not None and above is not None and below[1] == above[1]:
            free = _free(run, below[1], below[0] + 1, above[0], stop - start)
        if below is None or above is None or free is None:
            left.append((start, stop))
        else:
            yield from _take(run, lost, above[1], free, range(start, stop))
    return left


def _in_the_rest(run: Run, lost: _Lost) -> Iterator[FrameReference]:
    """Match with what nobody claimed and, beyond that, with what follows in the file.

    Not where rows of the stream were announced in a file of which no document came, nor where the
    file has rows of a stream of which none came: Tiled knows. With several files, each gap is taken
    to follow the frame before it.
    """
    resources = [r for r in run.resources.values() if r and r.data_key == lost.key.name]
    datasets = {r.file: r for r in resources}
    if run.has_unknown_files(lost.descriptor.stream) or any(map(run.has_strange_rows, datasets)):
        return
    if len(datasets) == 1:
        (resource,) = datasets.values()
        end = run.claims(resource).stop
        unclaimed = sum(stop - start for start, stop in run.claims(resource).missing(0, end))
        indices = _free(run, resource, 0, end + max(0, lost.count - unclaimed), lost.count)
        seqs = [seq for start, stop in lost.ranges for seq in range(start, stop)]
        if indices is not None and _is_in_order(run, lost, dict(zip(seqs, indices, strict=True))):
            yield from _take(run, lost, resource, indices, seqs)
        return
    track = run.track(lost.descriptor.stream, lost.key.name)
    for start, stop in lost.ranges:
        place = track.place(start)
        if place is not None:
            index, resource = place
            indices = _free(run, resource, index, index + stop - start, stop - start)
            if indices is not None:
                yield from _take(run, lost, resource, indices, range(start, stop))


def _is_in_order(run: Run, lost: _Lost, places: Mapping[int, int]) -> bool:
    """Tell whether frames found so (index by sequence number) lie between those that are known."""
    track = run.track(lost.descriptor.stream, lost.key.name)
    for start, stop in lost.ranges:
        below = track.place(start - 1) if start - 1 in track.seen else None
        above = track.place(stop) if stop in track.seen else None
        if below is not None and places[start] < below[0]:
            return False
        if above is not None and places[stop - 1] > above[0]:
            return False
    return True


def _free(run: Run, resource: Resource, start: int, stop: int, count: int) -> list[int] | None:
    """Give the unclaimed indices in [start, stop) when they are exactly `count`."""
    free = run.claims(resource).missing(max(0, start), stop)
    if sum(last - first for first, last in free) != count:
        return None
    return [index for first, last in free for index in range(first, last)]


def _take(
    run: Run,
    lost: _Lost,
    resource: Resource,
    indices: Sequence[int],
    seqs: Sequence[int],
) -> Iterator[FrameReference]:
    for index, seq in zip(indices, seqs, strict=True):
        run.claims(resource).add(index, index + 1)
        yield from run.take(
            Announced(lost.descriptor, lost.key, resource, index=index, seq_num=seq, time=lost.time)
        )
