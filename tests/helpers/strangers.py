"""Strangers on the network: who scan ports, and who answer where a publisher is expected."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import zmq

from tests.helpers.forwarder import Forwarder
from tests.helpers.hostile_documents import SCANS


class Imposter(Forwarder):
    """Forwards to the publisher, or answers in its place.

    Attributes:
        answer: what each new connection is sent instead of being forwarded; None: it is forwarded.
        met: counts the connections that got such an answer.
        forwarded: set with each connection that was forwarded.
    """

    def __init__(self, target: int) -> None:
        self.answer: bytes | None = None
        self.met = threading.Semaphore(0)
        self.forwarded = threading.Event()
        super().__init__(target)

    def stand_in(self, answer: bytes) -> None:
        """Break every connection, give the next one `answer`, then forward again."""
        while self.met.acquire(blocking=False):  # those who came more than once for the last one
            pass
        self.answer = answer
        self._break_until(lambda: self.met.acquire(timeout=0.2), "nobody came back")
        self.forwarded.clear()
        self.forward()
        assert self.forwarded.wait(60), "nobody tried again"

    def forward(self) -> None:
        """Break every connection, and forward the next ones."""
        self.answer = None  # first: a connection that is just being made sees it, or is broken
        self._break_all()

    def close(self) -> None:
        self.answer = None
        super().close()

    def _break_until(self, happened: Callable[[], bool], complaint: str) -> None:
        """Break again and again: a connection may just have been accepted."""
        deadline = time.monotonic() + 60
        self._break_all()
        while not happened():
            assert time.monotonic() < deadline, complaint
            self._break_all()

    def _serve(self, client: socket.socket) -> None:
        answer = self.answer
        if answer is None:
            self.forwarded.set()
            super()._serve(client)
            return
        with client, contextlib.suppress(OSError):
            self._open.add(client)
            client.sendall(answer)
            self.met.release()
            # Held half open until it is broken off, unless that was while it was being made.
            while self.answer is not None and client.recv(65536):
                pass
        self._open.discard(client)


def scan(port: int) -> None:
    """Come by as each port scanner does; what is answered is of no interest."""
    for _, data in SCANS:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as peer:
            peer.settimeout(0.05)
            peer.sendall(data)
            peer.recv(4096)


@contextmanager
def half_open(ports: list[int], count: int = 20) -> Iterator[None]:
    """Hold connections to each port that never say a word."""
    held = [
        socket.create_connection(("127.0.0.1", port), 5) for port in ports for _ in range(count)
    ]
    try:
        yield
    finally:
        for peer in held:
            peer.close()


class Proxy:
    """What `bluesky-0MQ-proxy` is, with a beamline behind it and room for other publishers.

    Attributes:
        inside: where others publish.
        port: where subscribers connect, on loopback.
    """

    def __init__(self, beamline: str):
        self._context = zmq.Context()
        front, back = self._context.socket(zmq.XSUB), self._context.socket(zmq.XPUB)
        for end in (front, back):  # later it would not be heard: the context ends first
            end.setsockopt(zmq.LINGER, 0)
        front.connect(beamline)
        self.inside = f"tcp://127.0.0.1:{front.bind_to_random_port('tcp://127.0.0.1')}"
        self.port = back.bind_to_random_port("tcp://127.0.0.1")
        self._thread = threading.Thread(target=self._forward, args=(front, back))
        self._thread.start()

    def _forward(self, *ends: zmq.Socket) -> None:
        with contextlib.suppress(zmq.ContextTerminated):
            zmq.proxy(*ends)
        for end in ends:
            end.close()

    def close(self) -> None:
        self._context.term()
        self._thread.join(60)


@contextmanager
def publishing_inside(proxy: Proxy) -> Iterator[zmq.Socket]:
    """Give a socket that publishes through the proxy, once it is subscribed to."""
    context = zmq.Context()
    made = context.socket(zmq.XPUB)
    made.setsockopt(zmq.LINGER, 5000)
    made.set_hwm(0)
    made.connect(proxy.inside)
    try:
        assert made.poll(60_000), "nobody subscribed"
        yield made
    finally:
        made.close()
        context.term()
