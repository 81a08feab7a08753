"""The doors between rooms, as protocols. A stage is a plain synchronous call over values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from qd_agent.core.frame import Frame, FrameReference, RunClosed, RunOpened
from qd_agent.core.pattern import Pattern
from qd_agent.core.prediction import Prediction, Provenance, Sized

Document = tuple[str, Mapping[str, object]]
"""A Bluesky document: its name ('start', 'event', ...) and its body."""


class DocumentSource(Protocol):
    """Where documents come from.

    Documents are acknowledged in the order in which they were given, once the ledger holds what
    they made known. A source that can (Kafka) tells its transport only then that it has them, so
    that what was in hand when the process ended comes again.
    """

    @property
    def state(self) -> str:
        """'connected', 'connecting', or in a sentence why nothing can come."""
        ...

    def receive(self, timeout: float) -> Document | None:
        """Give the next document, or None after `timeout` seconds.

        Raises:
            BadFrame: what arrived is no document; it was dropped, the source goes on.
            Unavailable: the transport is away for now.
        """
        ...

    def acknowledge(self, count: int) -> None:
        """Take note that the ledger holds the oldest `count` documents not yet acknowledged.

        Called on another thread than `receive`; raises nothing.
        """
        ...

    def close(self) -> None:
        """Let go of the transport; a second call does nothing."""
        ...


class FrameReader(Protocol):
    """Turns a reference into pixels."""

    def read(self, reference: FrameReference) -> Frame:
        """Read one frame; waits for a growing file up to its own deadline.

        Raises:
            BadFrame: the frame cannot be read, ever.
            Unavailable: it cannot be read now.
        """
        ...

    def close(self) -> None:
        """Close every open file."""
        ...


class Reducer(Protocol):
    """Turns an image into a pattern on the grid."""

    def reduce(self, frame: Frame) -> Pattern:
        """Integrate one frame.

        Raises:
            BadFrame: wrong shape, saturated, all zero, monitor zero, ...
        """
        ...


class Sizer(Protocol):
    """Answers patterns with sizes, or with the reason why there is none."""

    def size(self, patterns: Sequence[Pattern]) -> list[Sized]:
        """Size normalized or unnormalized patterns, in order; never raises for odd data."""
        ...


class PredictionSink(Protocol):
    """A store for predictions. Delivering the same prediction twice changes nothing."""

    name: str

    def open_run(self, run: RunOpened, provenance: Provenance) -> None:
        """Announce a run (again, after a restart: a repeat is a no-op)."""
        ...

    def deliver(self, records: Sequence[DeliveryRecord]) -> None:
        """Store predictions, in order.

        Raises:
            Unavailable: the store is away; nothing is lost, call again with the same records.
        """
        ...

    def close_run(self, run: RunClosed, account: Mapping[str, int]) -> None:
        """Record that a run has stopped, with its account (expected, sized, ...)."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


class DeliveryRecord(Protocol):
    """What a sink gets: the prediction and the pattern that it was made from."""

    @property
    def prediction(self) -> Prediction:
        """The prediction."""
        ...

    @property
    def intensity(self) -> npt.NDArray[np.float32] | None:
        """Normalized I(Q), shape (size,), or None when there was no pattern."""
        ...

    @property
    def model(self) -> npt.NDArray[np.float32] | None:
        """Explaining Debye pattern on the same grid, or None."""
        ...
