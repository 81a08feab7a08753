"""Documents of a RunEngine in this very process; handing one over never waits and never fails."""

from __future__ import annotations

import struct
import tempfile
import threading
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from qd_agent.core.errors import BadFrame
from qd_agent.core.ports import Document
from qd_agent.documents.settings import MEBIBYTE
from qd_agent.documents.wire import dumps, loads

MEMORY_BYTES = 64 * MEBIBYTE
"""Documents held in memory; what comes beyond them waits on disk."""
_LENGTH = struct.Struct("<BQ")
_LARGEST = 1 << 40


class _Spool:
    """First in, first out, in a file without a name; it is gone with the process."""

    def __init__(self, folder: Path) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed below
        self._read_at = self._written_to = 0

    @property
    def empty(self) -> bool:
        return self._read_at == self._written_to

    def put(self, name: str, body: bytes) -> None:
        """Append. Raises OSError; then nothing was."""
        self._file.seek(self._written_to)
        label = name.encode()
        self._file.write(_LENGTH.pack(len(label), len(body)) + label + body)
        self._file.flush()
        self._written_to = self._file.tell()

    def get(self) -> tuple[str, bytes]:
        self._file.seek(self._read_at)
        label, size = _LENGTH.unpack(self._file.read(_LENGTH.size))
        name, body = self._file.read(label).decode(), self._file.read(size)
        self._read_at = self._file.tell()
        if self.empty:
            self._file.truncate(0)
            self._read_at = self._written_to = 0
        return name, body

    def close(self) -> None:
        self._file.close()


class InProcessSource:
    """A queue between a RunEngine and an agent; implements `core.ports.DocumentSource`.

    Documents are encoded when they are handed over, since whoever made them may change them. Up to
    MEMORY_BYTES wait in memory, the rest in a file; nothing is dropped while there is room in one
    or the other. The ledger itself would not do: a plan would wait for whatever is written there.

    Args:
        folder: where the file goes; made when missing.

    Attributes:
        put_in: documents handed over.
        refused: documents of them that have no safe form.
        acknowledged: documents of them that the ledger holds.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._changed = threading.Condition()
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._late: deque[tuple[str, bytes]] = deque()
        self._bytes = 0
        self._spool: _Spool | None = None
        self.put_in = self.refused = self.acknowledged = 0
        self._closed = False

    @property
    def state(self) -> str:
        """'connected'."""
        return "connected"

    @property
    def settled(self) -> bool:
        """Whether the ledger holds everything that was handed over and could be encoded."""
        return self.acknowledged + self.refused >= self.put_in

    def put(self, name: str, doc: Mapping[str, object]) -> None:
        """Take a document; the time is that of encoding it.

        Raises:
            BadFrame: it has no safe form.
        """
        self.put_in += 1
        try:
            body = dumps(doc)
        except BadFrame:
            self.refused += 1
            raise
        with self._changed:
            if self._closed:
                return
            self._append(name, body)
            self._changed.notify_all()

    def receive(self, timeout: float) -> Document | None:
        """Give the next document, or None after `timeout` seconds.

        Raises:
            BadFrame: it cannot be decoded again (nested beyond the limits, say).
        """
        with self._changed:
            if not self._changed.wait_for(self._has_some, timeout):
                return None
            name, body = self._next()
        try:
            return name, loads(body, _LARGEST)
        except BadFrame:
            self.refused += 1
            raise

    def acknowledge(self, count: int) -> None:
        """Count what the ledger holds."""
        with self._changed:
            self.acknowledged += count
            self._changed.notify_all()

    def wait_until_settled(self, timeout: float) -> bool:
        """Wait until the ledger holds everything; False when it does not after `timeout` s."""
        with self._changed:
            return self._changed.wait_for(lambda: self.settled or self._closed, timeout)

    def close(self) -> None:
        """Forget what was not received; a second call does nothing."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._late.clear()
            if self._spool is not None:
                self._spool.close()
                self._spool = None
            self._changed.notify_all()

    def _has_some(self) -> bool:
        return bool(self._waiting or self._late) or self._spilling

    @property
    def _spilling(self) -> bool:
        return self._spool is not None and not self._spool.empty

    def _append(self, name: str, body: bytes) -> None:
        """Put a document behind all others: in memory, on disk, or where that is full in memory."""
        if not self._late and not self._spilling and self._bytes + len(body) <= MEMORY_BYTES:
            self._waiting.append((name, body))
            self._bytes += len(body)
        elif self._late or not self._spilled(name, body):
            self._late.append((name, body))

    def _spilled(self, name: str, body: bytes) -> bool:
        try:
            if self._spool is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._spool = _Spool(self._folder)
            self._spool.put(name, body)
        except OSError:
            return False
        return True

    def _next(self) -> tuple[str, bytes]:
        if self._waiting:
            name, body = self._waiting.popleft()
            self._bytes -= len(body)
            return name, body
        if self._spool is not None and not self._spool.empty:
            return self._spool.get()
        return self._late.popleft()
