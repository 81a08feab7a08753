"""What stands between us and a ZeroMQ publisher, from the events of its socket."""

from __future__ import annotations

import time

import zmq
from zmq.utils.monitor import recv_monitor_message

CONNECTING, CONNECTED = "connecting", "connected"
NOT_ADMITTED = (
    "refused: the publisher does not admit our key; it must be given the public half of "
    "source.curve_secret_key"
)
NO_AGREEMENT = (
    "refused: the CURVE handshake failed; source.curve_server_key is not the publisher's public "
    "key, or the publisher does not encrypt"
)
NO_ZMQ = (
    "refused: what answers there asks for CURVE keys (source.curve_server_key and "
    "curve_secret_key), or does not speak ZeroMQ"
)

_EVENTS = (
    zmq.Event.HANDSHAKE_SUCCEEDED
    | zmq.Event.HANDSHAKE_FAILED_AUTH
    | zmq.Event.HANDSHAKE_FAILED_PROTOCOL
    | zmq.Event.HANDSHAKE_FAILED_NO_DETAIL
    | zmq.Event.CLOSED
    | zmq.Event.DISCONNECTED
    | zmq.Event.CONNECT_DELAYED
    | zmq.Event.CONNECT_RETRIED
    | zmq.Event.CONNECTED
)
_TRIES = frozenset({zmq.Event.CONNECT_DELAYED, zmq.Event.CONNECT_RETRIED, zmq.Event.CONNECTED})
_DISAGREEMENTS = frozenset(
    {zmq.Event.HANDSHAKE_FAILED_PROTOCOL, zmq.Event.HANDSHAKE_FAILED_NO_DETAIL}
)
_ADDRESS = "inproc://monitor"


class Link:
    """Watches one connecting socket. Used by the socket's own thread, but for `state`.

    Attributes:
        state: 'connected', 'connecting', or in a sentence why nothing can come.
        idle_since: monotonic time, s, since which nothing is connected and ZeroMQ does not try;
            None while it does. It gives up for good after a refusal and after bytes that are
            against its protocol, such as one message beyond the limit.
    """

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], socket: zmq.Socket[bytes], *, encrypted: bool
    ) -> None:
        """Watch `socket`, which is not connected yet."""
        self.state = CONNECTING
        self.idle_since: float | None = None
        self._encrypted = encrypted
        socket.monitor(_ADDRESS, int(_EVENTS))
        self._events = context.socket(zmq.PAIR)
        self._events.setsockopt(zmq.LINGER, 0)
        self._events.connect(_ADDRESS)

    def look(self) -> None:
        """Take in what has happened since the last look."""
        while self._events.poll(0):
            self._take(recv_monitor_message(self._events)["event"])

    def close(self) -> None:
        """Stop watching; the socket itself is closed by its owner."""
        self._events.close(0)

    def _take(self, event: int) -> None:
        if event in _TRIES:
            self.idle_since = None
            return
        if event == zmq.Event.HANDSHAKE_SUCCEEDED:
            self.state, self.idle_since = CONNECTED, None
            return
        self.idle_since = time.monotonic()
        if event == zmq.Event.HANDSHAKE_FAILED_AUTH:
            self.state = NOT_ADMITTED
        elif event in _DISAGREEMENTS:
            self.state = NO_AGREEMENT if self._encrypted else NO_ZMQ
        elif event == zmq.Event.CLOSED or self.state == CONNECTED:
            # Nobody is there, or whoever was has gone; after a refusal the refusal still counts.
            self.state = CONNECTING
