"""Documents leave over ZMQ; nothing that a subscriber does or fails to do holds up the scan."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Any, Self

import zmq
from zmq.auth import CURVE_ALLOW_ANY, load_certificate
from zmq.auth.thread import ThreadAuthenticator

from simulated_beamline.errors import BeamlineError
from simulated_beamline.wire import message

log = logging.getLogger(__name__)

HIGH_WATER_MARK = 100_000
"""Messages kept for a slow subscriber (documents are a kilobyte); above it they are dropped."""

LINGER_MS = 3000
"""How long closing waits for what is still on its way to live subscribers."""

LONGEST_POLL_S = 0.2
"""How soon an interrupt is noticed while waiting for a subscriber."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Keys of an encrypted publisher, as `zmq.auth` and `qd-agent keys` make them.

    Attributes:
        key: file with the publisher's own pair (.key_secret).
        clients: folder with the public keys that are let in; None lets in everybody who knows
            the publisher's public key.
    """

    key: Path
    clients: Path | None = None


class ZmqPublisher:
    """A RunEngine callback that publishes documents on a bound XPUB socket.

    The layout of a message is that of bluesky's own publisher: `prefix name body`, in one part.

    Attributes:
        address: where it listens (with the true port when 0 was asked for).
        sent: documents handed to ZMQ.
        failed: documents that could not be encoded or handed over.

    Args:
        address: such as 'tcp://127.0.0.1:5578'.
        prefix: first word of every message, without spaces.
        curve: keys; None publishes to everybody, unencrypted.

    Raises:
        BeamlineError: the address cannot be bound, or a key cannot be used.
    """

    def __init__(self, address: str, prefix: bytes = b"raw", curve: Curve | None = None) -> None:
        if b" " in prefix:
            raise BeamlineError(f"prefix {prefix.decode()!r} must not contain a space")
        self._prefix = prefix
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.XPUB)
        self._socket.set_hwm(HIGH_WATER_MARK)
        self._socket.setsockopt(zmq.LINGER, LINGER_MS)
        self._gatekeeper: ThreadAuthenticator | None = None
        if curve is not None:
            self._use(curve)
        try:
            self._socket.bind(address)
        except zmq.ZMQError as error:
            self.close()
            raise BeamlineError(
                f"cannot publish at {address}: {error}; choose another --zmq address"
            ) from None
        self.address = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self.sent = 0
        self.failed = 0

    def wait_for_subscriber(self, seconds: float, interrupted: Event | None = None) -> None:
        """Wait until somebody has subscribed.

        Raises:
            BeamlineError: nobody did in time, or `interrupted` was set meanwhile.
        """
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if interrupted is not None and interrupted.is_set():
                raise BeamlineError("interrupted before the scan began")
            slice_ms = int(min(left, LONGEST_POLL_S) * 1000) + 1
            if self._socket.poll(slice_ms) and self._socket.recv()[:1] == b"\x01":
                return
        raise BeamlineError(
            f"nobody subscribed to {self.address} within {seconds:g} s; "
            "start the agent, or leave out --wait-for-subscriber"
        )

    def __call__(self, name: str, document: Mapping[str, Any]) -> None:
        """Send one document, without ever waiting for a subscriber."""
        try:
            self._socket.send(message(self._prefix, name, document), zmq.NOBLOCK)
        except (TypeError, ValueError, OverflowError, zmq.ZMQError) as error:
            self.failed += 1
            log.warning("a %s document did not leave over ZMQ: %s", name, error)
        else:
            self.sent += 1

    def _use(self, curve: Curve) -> None:
        """Encrypt, and let in only who may; before the socket is bound."""
        try:
            public, secret = load_certificate(curve.key)
            self._socket.curve_publickey, self._socket.curve_secretkey = public, secret or b""
            self._socket.curve_server = True
            self._gatekeeper = ThreadAuthenticator(self._context)
            self._gatekeeper.start()
            if curve.clients is not None and not curve.clients.is_dir():
                raise NotADirectoryError(f"{curve.clients} is no folder of public keys")
            location = CURVE_ALLOW_ANY if curve.clients is None else str(curve.clients)
            self._gatekeeper.configure_curve(domain="*", location=location)
        except (OSError, ValueError, zmq.ZMQError) as error:
            self.close()
            where = curve.key if curve.clients is None else f"{curve.key} and {curve.clients}"
            raise BeamlineError(f"the CURVE keys {where} cannot be used: {error}") from None

    def close(self) -> None:
        """Let go of the socket, after a short time for what is still on its way."""
        self._socket.close()
        if self._gatekeeper is not None:
            self._gatekeeper.stop()
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
