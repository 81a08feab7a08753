"""A source of documents that gives what a test has written down for it."""

import threading
from collections.abc import Sequence

from qd_agent.core.ports import Document


class Source:
    """Gives what it was told to, then waits for the end of the test.

    Attributes:
        dry: set once there is nothing left to give.
        acknowledged: how many documents the ledger holds, each time that we were told so.
    """

    def __init__(self, script: Sequence[Document | Exception] = ()):
        self.state = "connected"
        self.script = list(script)
        self.dry = threading.Event()
        self.acknowledged: list[int] = []

    def receive(self, timeout: float) -> Document | None:
        if not self.script:
            self.dry.set()
            return None
        item = self.script.pop(0)
        if isinstance(item, Exception):
            raise item
        return item

    def acknowledge(self, count: int) -> None:
        self.acknowledged.append(count)

    def close(self) -> None: ...
