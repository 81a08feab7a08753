"""What was refused: counted, and said in the log as long as that fills nobody's disk."""

from __future__ import annotations

import structlog

from qd_agent.core.errors import BadFrame, SaidBefore

_log = structlog.get_logger(__name__)

SAID = 100
"""Refusals that are each said in the log; after them one in as many is."""


class Refusals:
    """Counts the refusals of one kind.

    Args:
        event: what happened, as the log says it.

    Attributes:
        count: refusals so far, said or not.
    """

    def __init__(self, event: str) -> None:
        self._event = event
        self.count = 0

    def take(self, error: BadFrame, **details: object) -> None:
        """Count a refusal; say it, unless that would let a stranger fill the log's disk."""
        self.count += 1
        if isinstance(error, SaidBefore):
            return
        if self.count <= SAID or self.count % SAID == 0:
            _log.warning(self._event, **details, reason=str(error), refused=self.count)
