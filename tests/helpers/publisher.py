"""Documents of a test's own making, published as a beamline does."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import zmq

from qd_agent.documents.wire import dumps


class Publisher:
    """Publishes on `address`, once somebody listens."""

    def __init__(self, address: str):
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.XPUB)
        self._socket.setsockopt(zmq.LINGER, 2000)
        self._socket.setsockopt(zmq.XPUB_VERBOSE, 1)
        self._socket.bind(address)

    def wait_for_subscriber(self, patience_s: float = 60.0) -> None:
        while True:
            assert self._socket.poll(round(1000 * patience_s)), "nobody subscribed"
            if self._socket.recv()[:1] == b"\x01":
                return

    def send(self, documents: Iterable[tuple[str, Mapping[str, object]]]) -> None:
        for name, doc in documents:
            self._socket.send(b"raw " + name.encode() + b" " + dumps(doc))

    def send_nonsense(self) -> None:
        """Send what is no document; who has refused it has taken in all that was sent before."""
        self._socket.send(b"raw nonsense")

    def close(self) -> None:
        self._socket.close()
        self._context.term()


@contextmanager
def publishing(address: str) -> Iterator[Publisher]:
    made = Publisher(address)
    try:
        yield made
    finally:
        made.close()
