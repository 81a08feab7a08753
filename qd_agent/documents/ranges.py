"""A set of whole numbers kept as ranges: a million frames in a row cost one entry."""

from __future__ import annotations

from bisect import bisect_left, bisect_right


class Ranges:
    """Disjoint half-open ranges of whole numbers, in order, never touching each other."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._starts, number) - 1
        return at >= 0 and number < self._stops[at]

    @property
    def stop(self) -> int:
        """One beyond the largest number, or 0 when empty."""
        return self._stops[-1] if self._stops else 0

    @property
    def pieces(self) -> int:
        """How many ranges they are kept as."""
        return len(self._starts)

    @property
    def count(self) -> int:
        """How many numbers are in the set."""
        return sum(self._stops) - sum(self._starts)

    def missing(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Give the ranges within [start, stop) that are not in the set."""
        found: list[tuple[int, int]] = []
        at = bisect_right(self._stops, start)
        while start < stop and at < len(self._starts) and self._starts[at] < stop:
            if start < self._starts[at]:
                found.append((start, self._starts[at]))
            start = self._stops[at]
            at += 1
        if start < stop:
            found.append((start, stop))
        return found

    def add(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Add [start, stop); give the ranges of it that were new."""
        new = self.missing(start, stop)
        if new:
            first = bisect_left(self._stops, start)
            last = bisect_right(self._starts, stop)
            if first < last:
                start = min(start, self._starts[first])
                stop = max(stop, self._stops[last - 1])
            self._starts[first:last] = [start]
            self._stops[first:last] = [stop]
        return new

    def gap_below(self, number: int, floor: int) -> int:
        """Count the absent numbers directly below `number`, not going below `floor`."""
        at = bisect_left(self._starts, number) - 1
        previous = self._stops[at] if at >= 0 else floor
        return max(0, number - max(previous, floor))
