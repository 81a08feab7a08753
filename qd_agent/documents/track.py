"""One detector in one stream: which events' frames are known, and where they lie."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from qd_agent.core.errors import BadFrame
from qd_agent.documents.ranges import Ranges
from qd_agent.documents.resources import Resource

MAX_BREAKS = 10_000


class Track:
    """What is known of a detector's frames in a stream.

    Attributes:
        seen: sequence numbers whose frames are known.
        takes: how often a sequence number was taken again.
    """

    def __init__(self) -> None:
        self.seen = Ranges()
        self.takes: dict[int, int] = {}
        # From _starts[i] on, sequence number − index and dataset are _relations[i].
        self._starts: list[int] = []
        self._relations: list[tuple[int, Resource]] = []

    def place(self, seq: int) -> tuple[int, Resource] | None:
        """Give index and dataset of `seq`; where it is not known, carry on what came before."""
        at = bisect_right(self._starts, seq) - 1
        if at < 0:
            return None
        offset, resource = self._relations[at]
        return seq - offset, resource

    def relate(self, seq: int, count: int, index: int, resource: Resource) -> None:
        """Remember that `count` numbers from `seq` on lie at `index` and after.

        Raises:
            BadFrame: more breaks than a real run has; nothing has changed.
        """
        if len(self._starts) >= MAX_BREAKS:
            raise BadFrame(f"the run has more than {MAX_BREAKS} breaks in its indices")
        relation, stop = (seq - index, resource), seq + count
        first, last = bisect_left(self._starts, seq), bisect_right(self._starts, stop)
        before = self._relations[first - 1] if first else None
        after = self._relations[last - 1] if last else None
        new: list[tuple[int, tuple[int, Resource]]] = []
        if relation != before:
            new.append((seq, relation))
        if after is not None and after != relation and stop < self.seen.stop:
            new.append((stop, after))
        self._starts[first:last] = [start for start, _ in new]
        self._relations[first:last] = [relation for _, relation in new]
