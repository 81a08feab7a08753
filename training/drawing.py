"""Batches as training takes them: from a source whose state says where to go on."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from torch import Tensor

from training.dataset import Batch, PatternSource


class Drawing(Protocol):
    """Gives batches; `state` is that of the source from which the next one is drawn."""

    @property
    def state(self) -> Tensor:
        """What a checkpoint keeps."""
        ...

    def take(self) -> Batch:
        """Give the next batch."""
        ...

    def close(self) -> None:
        """Leave the source at `state`."""
        ...


class Drawn:
    """Draws each batch when it is asked for."""

    def __init__(self, source: PatternSource, size: int) -> None:
        self._source, self._size = source, size

    @property
    def state(self) -> Tensor:
        """State of the source."""
        return self._source.state

    def take(self) -> Batch:
        """Give the next batch."""
        return self._source.batch(self._size)

    def close(self) -> None:
        """Nothing is drawn ahead, so there is nothing to put back."""


class Ahead:
    """Draws batches on a thread of its own, one draw ahead; `at_once` batches make a draw.

    `state` is that of the source from which the first batch that was not taken is drawn; of that
    draw, as many batches were taken as the number of all that were leaves over when divided by
    `at_once`. They are what `taken` skips.
    """

    def __init__(
        self, source: PatternSource, size: int, *, at_once: int = 1, taken: int = 0
    ) -> None:
        self._source, self._size, self._at_once = source, size, at_once
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="patterns")
        self._waiting: list[Batch] = []
        self._after = self.state = source.state
        self._next: Future[tuple[Batch, Tensor]] = self._executor.submit(self._draw)
        for _ in range(taken % at_once):
            self.take()

    def _draw(self) -> tuple[Batch, Tensor]:
        drawn = self._source.batch(self._size * self._at_once)
        return drawn, self._source.state

    def take(self) -> Batch:
        """Give the next batch."""
        if not self._waiting:
            drawn, self._after = self._next.result()
            self._waiting = drawn.parts(self._size)
            self._next = self._executor.submit(self._draw)
        batch = self._waiting.pop(0)
        if not self._waiting:
            self.state = self._after
        return batch

    def close(self) -> None:
        """Let the thread end; leaves the source at `state`."""
        self._next.result()
        self._executor.shutdown()
        self._source.restore(self.state)
