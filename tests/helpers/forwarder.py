"""A wire between a client and a server that can be cut, also between a request and its answer."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Forwarder:
    """Forwards TCP connections from `port` to `target`, unless told otherwise.

    Attributes:
        port: where clients connect, on loopback.
        target: port of the server, on loopback; None: connections are closed at once.
        lose_answer_to: the next request that contains these bytes reaches the server, its answer
            reaches nobody, and the connection breaks; then this is None again.
        lost: number of answers that were lost.
    """

    def __init__(self, target: int) -> None:
        self.target: int | None = target
        self.lose_answer_to: bytes | None = None
        self.lost = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def cut(self) -> None:
        """Break every connection and refuse new ones until `target` is set again."""
        self.target = None  # first: a connection that is just being made sees it, or is broken
        self._break_all()

    def close(self) -> None:
        """Break everything and end."""
        self.target = None
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._break_all()
        for thread in self._threads:
            thread.join(10)

    def _break_all(self) -> None:
        for end in list(self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(client,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            target = self.target
            if target is None:
                return
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", target)) as server,
            ):
                self._open |= {client, server}
                if self.target is None:  # cut off meanwhile, before there was anything to break
                    self._open -= {client, server}
                    return
                losing = threading.Event()
                back = threading.Thread(target=self._answers, args=(server, client, losing))
                back.start()
                with contextlib.suppress(OSError):
                    while part := client.recv(65536):
                        if self.lose_answer_to is not None and self.lose_answer_to in part:
                            self.lose_answer_to = None
                            losing.set()
                        server.sendall(part)
                with contextlib.suppress(OSError):
                    server.shutdown(socket.SHUT_RDWR)
                back.join()
                self._open -= {client, server}

    def _answers(
        self, server: socket.socket, client: socket.socket, losing: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while part := server.recv(65536):
                if losing.is_set():
                    self.lost += 1
                    break
                client.sendall(part)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)


@contextmanager
def forwarding(url: str) -> Iterator[tuple[Forwarder, str]]:
    """Give a forwarder to the server at `url` (scheme://127.0.0.1:port/...), and the URL of it."""
    host, _, rest = url.partition("127.0.0.1:")
    port, _, path = rest.partition("/")
    forwarder = Forwarder(int(port))
    try:
        yield forwarder, f"{host}127.0.0.1:{forwarder.port}/{path}"
    finally:
        forwarder.close()
