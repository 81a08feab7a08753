"""Documents over ZeroMQ, as bluesky's Publisher and Proxy send them: `prefix name body`."""

from __future__ import annotations

import time
from contextlib import suppress

import zmq

from qd_agent.core.errors import BadFrame, Fatal, Unavailable
from qd_agent.core.ports import Document
from qd_agent.documents.curve import read_keys
from qd_agent.documents.pickles import Pickles
from qd_agent.documents.settings import ZmqSettings
from qd_agent.documents.wire import NAMES, loads
from qd_agent.documents.zmq_link import CONNECTED, Link

RETRY_S = 2.0
"""Pause before we connect again where ZeroMQ has given up."""
HEARTBEAT_MS, SILENCE_MS = 10_000, 30_000
"""How often a connection is asked whether it lives, and how long it may be silent. Without it a
publisher's machine that loses its power leaves us with a connection that never says anything."""


class ZmqSource:
    """A SUB socket; implements `core.ports.DocumentSource`. Used by one thread at a time.

    ZeroMQ connects, and connects again, by itself and in the background: an address where nobody
    listens yet is no error. What was published before the connection stood, or beyond the high
    water mark, is gone without a trace; the router and the archive make up for it.

    With keys (CURVE) documents are taken from the publisher that holds the other half only.

    Attributes:
        received: messages that came, usable or not.
        refused: messages of them that were no document.
    """

    def __init__(self, settings: ZmqSettings) -> None:
        self.received = 0
        self.refused = 0
        self._address = settings.address
        self._pickles = Pickles()
        self._max_bytes = settings.max_document_bytes
        self._prefix = settings.prefix.encode()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RCVHWM, settings.receive_high_water_mark)
        # ZeroMQ cuts the connection at this size, so leave room to name a too large document.
        self._socket.setsockopt(zmq.MAXMSGSIZE, 4 * settings.max_document_bytes)
        self._socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
        self._socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, SILENCE_MS)
        self._socket.setsockopt(zmq.SUBSCRIBE, self._prefix + b" " if self._prefix else b"")
        self._use_keys(settings)
        self._link = Link(
            self._context, self._socket, encrypted=settings.curve_server_key is not None
        )
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
            self._look_after_the_link()
            if not self._socket.poll(max(0, round(timeout * 1000.0)), zmq.POLLIN):
                return None
            parts = self._socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None
        except zmq.ZMQError as error:
            raise Unavailable(f"documents from {self._address} cannot be had: {error}") from error
        self.received += 1
        try:
            document = self._decode(parts)
        except BadFrame as error:
            self.refused += 1
            raise self._pickles.kind_of(error)(
                f"message {self.received} from {self._address} was refused ({self.refused} so "
                f"far): {error}"
            ) from error
        self._pickles.state = ""
        return document

    def acknowledge(self, count: int) -> None:
        """Do nothing: ZeroMQ keeps nothing for us, whether we have it or not."""

    @property
    def state(self) -> str:
        """'connected', 'connecting', or in a sentence why nothing can come."""
        state = self._link.state
        return self._pickles.state or state if state == CONNECTED else state

    def close(self) -> None:
        """Close the socket; a second call does nothing."""
        self._link.close()
        self._socket.close(0)
        self._context.term()

    def _use_keys(self, settings: ZmqSettings) -> None:
        if settings.curve_server_key is None or settings.curve_secret_key is None:
            return
        try:
            keys = read_keys(settings.curve_server_key, settings.curve_secret_key)
        except Fatal:
            self._socket.close(0)
            self._context.term()
            raise
        self._socket.curve_serverkey = keys.server
        self._socket.curve_publickey = keys.public
        self._socket.curve_secretkey = keys.secret

    def _look_after_the_link(self) -> None:
        """Connect again, after a pause, where ZeroMQ has given up."""
        self._link.look()
        idle_since = self._link.idle_since
        if idle_since is not None and time.monotonic() - idle_since >= RETRY_S:
            self._link.idle_since = time.monotonic()
            with suppress(zmq.ZMQError):  # it may know nothing of the address any more
                self._socket.disconnect(self._address)
            self._socket.connect(self._address)

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
