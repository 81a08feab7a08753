"""What the stop document reveals: frames that were counted but never announced."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass

from qd_agent.core.frame import FrameReference
from qd_agent.documents.layout import Descriptor, ImageKey, Resource
from qd_agent.documents.run import Announced, Run


@dataclass(frozen=True, slots=True)
class _Lost:
    descriptor: Descriptor
    key: ImageKey
    seqs: list[int]


def recover(run: Run, expected: Mapping[str, int], now: float) -> Iterator[FrameReference]:
    """Take in the frames that `expected` (events per stream) counts and no document announced.

    Where the relation between sequence numbers and indices is known from the same stream, it is
    carried on. What is then left over is matched with the indices that nobody has claimed, when
    there is only one way to do so; otherwise it stays unaccounted for.
    """
    leftovers: list[_Lost] = []
    for lost in _lost(run, expected):
        left = yield from _by_relation(run, lost, now)
        if left:
            leftovers.append(_Lost(lost.descriptor, lost.key, left))
    for lost in leftovers:
        if sum(other.key.name == lost.key.name for other in leftovers) == 1:
            yield from _by_elimination(run, lost, now)


def _lost(run: Run, expected: Mapping[str, int]) -> Iterator[_Lost]:
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
                seqs = [seq for start, stop in ranges for seq in range(start, stop)]
                yield _Lost(descriptor, key, seqs)


def _by_relation(run: Run, lost: _Lost, now: float) -> Generator[FrameReference, None, list[int]]:
    """Carry on the nearest known relation; return the sequence numbers that found no index."""
    track = run.track(lost.descriptor.stream, lost.key.name)
    segments = sorted(track.segments, key=_first_seq)
    if not segments:
        return lost.seqs
    left: list[int] = []
    for seq in lost.seqs:
        at = max(0, bisect_right(segments, seq, key=_first_seq) - 1)
        _, offset, resource = segments[at]
        index = seq - offset
        if index < 0 or not run.claims(resource).add(index, index + 1):
            left.append(seq)
        else:
            yield from run.take(
                Announced(lost.descriptor, lost.key, resource, index=index, seq_num=seq, time=now)
            )
    return left


def _first_seq(segment: tuple[int, int, Resource]) -> int:
    return segment[0]


def _by_elimination(run: Run, lost: _Lost, now: float) -> Iterator[FrameReference]:
    """Match with the indices nobody claimed, when they are as many; or go on after the last."""
    resources = [r for r in run.resources.values() if r and r.data_key == lost.key.name]
    datasets = {(r.uri, r.dataset): r for r in resources}
    if len(datasets) != 1:
        return
    (resource,) = datasets.values()
    claims = run.claims(resource)
    free = claims.missing(0, claims.stop)
    if not free and not run.track(lost.descriptor.stream, lost.key.name).segments:
        free = [(claims.stop, claims.stop + len(lost.seqs))]
    if sum(stop - start for start, stop in free) != len(lost.seqs):
        return
    indices = [index for start, stop in free for index in range(start, stop)]
    for index, seq in zip(indices, lost.seqs, strict=True):
        claims.add(index, index + 1)
        yield from run.take(
            Announced(lost.descriptor, lost.key, resource, index=index, seq_num=seq, time=now)
        )
