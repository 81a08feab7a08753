"""Documents go into Tiled through a bounded queue and a thread that can never hold up the scan."""

from __future__ import annotations

import logging
import queue
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

log = logging.getLogger(__name__)

Document = tuple[str, Mapping[str, Any]]
Writer = Callable[[str, Mapping[str, Any]], None]

WRITE_FAILURES = (httpx.HTTPError, OSError, RuntimeError, ValueError, TypeError, LookupError)
"""What the Tiled client and writer raise when the server is away or refuses a document."""


@dataclass(frozen=True, slots=True)
class Account:
    """What became of the documents.

    Attributes:
        written: documents that Tiled has taken.
        not_written: documents that it has not, for whatever reason.
    """

    written: int
    not_written: int


class TiledArchive:
    """A RunEngine callback that hands documents to a thread which writes them into Tiled.

    While the server cannot be reached at first, documents wait in the queue. When it fails in the
    middle of a run, the rest of that run is given up (half-written records must not be written
    twice) and the next run is tried again. Either way the scan goes on; the log says so once.

    Args:
        connect: opens the store and gives a function that writes one document.
        where: name of the store for the log.
        capacity: documents that may wait; more are not written.
        retry_s: pause between attempts to connect, seconds.
    """

    def __init__(
        self, connect: Callable[[], Writer], where: str, capacity: int = 10_000, retry_s: float = 2
    ) -> None:
        self._connect, self._where, self._retry_s = connect, where, retry_s
        self._queue: queue.Queue[Document | None] = queue.Queue(capacity)
        self._offered = self._written = 0
        self._overflowed = False
        self._closing = threading.Event()
        # A daemon: a server that never answers must not keep the process alive.
        self._thread = threading.Thread(target=self._work, name="tiled-archive", daemon=True)
        self._thread.start()

    def __call__(self, name: str, document: Mapping[str, Any]) -> None:
        """Queue one document; never waits."""
        self._offered += 1
        try:
            self._queue.put_nowait((name, document))
        except queue.Full:
            if not self._overflowed:
                self._overflowed = True
                log.warning("%s cannot keep up: documents are left out from here on", self._where)

    def close(self, limit_s: float) -> Account:
        """Write what is still queued, for at most `limit_s` seconds, and give the account."""
        self._closing.set()
        try:
            self._queue.put_nowait(None)
        except queue.Full:
            log.warning("%s is too far behind to be waited for", self._where)
        else:
            self._thread.join(limit_s)
        account = Account(self._written, self._offered - self._written)
        if account.not_written:
            log.warning("%s did not take %d documents", self._where, account.not_written)
        return account

    def _work(self) -> None:
        write: Writer | None = None
        while (document := self._queue.get()) is not None:
            if document[0] == "start" and write is None:
                write = self._connected()
            if write is not None and not self._wrote(write, document):
                write = None

    def _connected(self) -> Writer | None:
        """Connect, trying again until it works or the scan is over."""
        warned = False
        while True:
            last = self._closing.is_set()
            try:
                return self._connect()
            except WRITE_FAILURES as error:
                if not warned:
                    warned = True
                    log.warning("%s is away (%s); the scan goes on", self._where, one_line(error))
            if last:
                return None
            self._closing.wait(self._retry_s)

    def _wrote(self, write: Writer, document: Document) -> bool:
        try:
            write(*document)
        except WRITE_FAILURES as error:
            log.warning(
                "%s refused a %s document (%s); the rest of this run is not written, "
                "the scan goes on",
                self._where,
                document[0],
                one_line(error),
            )
            return False
        self._written += 1
        return True


def one_line(error: BaseException) -> str:
    """Say what an error is, shortly and in one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:199] + "…"


def tiled_connection(uri: str, api_key: str | None, container: str = "raw") -> Callable[[], Writer]:
    """Give a function that opens `container` in a Tiled server (made when missing) for writing.

    Args:
        uri: of the server.
        api_key: its key, or None for an open server; a key in the URI itself goes before it.
        container: name of the container of runs.
    """

    def connect() -> Writer:
        _knock(uri)
        # Only a scan that writes into Tiled pays for these imports (seconds).
        from bluesky_tiled_plugins import TiledWriter  # noqa: PLC0415 - see above
        from tiled.client import from_uri  # noqa: PLC0415 - see above
        from tiled.structures.core import Spec  # noqa: PLC0415 - see above

        # The client refuses to be told two keys.
        root: Any = from_uri(uri, api_key=None if "api_key=" in uri else api_key)
        if container not in root:
            root.create_container(container, specs=[Spec("CatalogOfBlueskyRuns", "3.0")])
        return TiledWriter(root[container], batch_size=1)

    return connect


def _knock(uri: str) -> None:
    """See whether anybody listens, at once; the Tiled client itself tries for 45 seconds."""
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("not an http:// or https:// address")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    with socket.create_connection((parts.hostname, port), timeout=3.0):
        pass
