"""Publishers that pickle: explained in the log now and then, counted in between."""

from __future__ import annotations

import time

from qd_agent.core.errors import BadFrame, SaidBefore
from qd_agent.documents.wire import PICKLE_REFUSED, Pickled

EXPLAIN_AGAIN_S = 600.0
"""How often a publisher that pickles is explained in the log; until then its documents count."""


class Pickles:
    """What one source has to say about pickles.

    Attributes:
        state: why nothing can come, in a sentence; '' when the latest message was no pickle.
    """

    def __init__(self) -> None:
        self.state = ""
        self._explain_at = float("-inf")

    def kind_of(self, error: BadFrame) -> type[BadFrame]:
        """Give what to raise for a refused message."""
        if not isinstance(error, Pickled):
            return BadFrame
        self.state = f"refused: {PICKLE_REFUSED}"
        now = time.monotonic()
        if now < self._explain_at:
            return SaidBefore
        self._explain_at = now + EXPLAIN_AGAIN_S
        return BadFrame
