"""Documents over ZeroMQ, as bluesky's Publisher and Proxy send them: `prefix name body`."""

from __future__ import annotations

import zmq

from qd_agent.core.errors import BadFrame, Fatal, Unavailable
from qd_agent.core.ports import Document
from qd_agent.documents.settings import SourceSettings
from qd_agent.documents.wire import loads

NAMES = frozenset(
    {
        "start",
        "stop",
        "descriptor",
        "event",
        "event_page",
        "resource",
        "datum",
        "datum_page",
        "stream_resource",
        "stream_datum",
        "bulk_events",
        "bulk_datum",
    }
)
"""Every name that event-model gives a document."""


class ZmqSource:
    """A SUB socket; implements `core.ports.DocumentSource`. Used by one thread at a time.

    ZeroMQ connects, and connects again, by itself and in the background: an address where nobody
    listens yet is no error. What was published before the connection stood, or beyond the high
    water mark, is gone without a trace; the router and the archive make up for it.

    Attributes:
        received: messages that came, usable or not.
        refused: messages of them that were no document.
    """

    def __init__(self, settings: SourceSettings) -> None:
        self.received = 0
        self.refused = 0
        self._address = settings.address
        self._max_bytes = settings.max_document_bytes
        self._prefix = settings.prefix.encode()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RCVHWM, settings.receive_high_water_mark)
        # ZeroMQ cuts the connection at this size, so leave room to name a too large document.
        self._socket.setsockopt(zmq.MAXMSGSIZE, 4 * settings.max_document_bytes)
        self._socket.setsockopt(zmq.SUBSCRIBE, self._prefix + b" " if self._prefix else b"")
        try:
            self._socket.connect(self._address)
        except zmq.ZMQError as error:
            self.close()
            raise Fatal(
                f"documents.address {self._address!r} is no ZeroMQ endpoint ({error}); expected "
                "something like tcp://127.0.0.1:5578"
            ) from error

    def receive(self, timeout: float) -> Document | None:
        """Give the next document, or None after `timeout` seconds.

        Raises:
            BadFrame: what arrived is no document; it was dropped, the source goes on.
            Unavailable: the socket is closed or broken.
        """
        try:
            if not self._socket.poll(max(0, round(timeout * 1000.0)), zmq.POLLIN):
                return None
            parts = self._socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None
        except zmq.ZMQError as error:
            raise Unavailable(f"documents from {self._address} cannot be had: {error}") from error
        self.received += 1
        try:
            return self._decode(parts)
        except BadFrame as error:
            self.refused += 1
            raise BadFrame(
                f"message {self.received} from {self._address} was refused ({self.refused} so "
                f"far): {error}"
            ) from error

    def close(self) -> None:
        """Close the socket; a second call does nothing."""
        self._socket.close(0)
        self._context.term()

    def _decode(self, parts: list[bytes]) -> Document:
        if len(parts) != 1:
            raise BadFrame(f"it has {len(parts)} parts, a document has one")
        pieces = parts[0].split(b" ", 2)
        if len(pieces) != 3:
            raise BadFrame("it is not 'prefix name body'")
        prefix, name, body = pieces
        if self._prefix and prefix != self._prefix:
            raise BadFrame(f"its prefix is {_shown(prefix)}, not {_shown(self._prefix)}")
        text = name.decode("ascii", "replace")
        if text not in NAMES:
            raise BadFrame(f"{_shown(name)} is not the name of a document")
        return text, loads(body, self._max_bytes)


def _shown(piece: bytes) -> str:
    return repr(piece[:40].decode("ascii", "replace"))
