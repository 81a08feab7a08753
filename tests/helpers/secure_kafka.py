"""Brokers that want TLS, a password or both: a door before the mock brokers, which want neither.

The brokers listen on 127.0.0.1, their doors with the same ports on 127.0.0.2; in whatever the
brokers say, the equally long address of the door takes the place of theirs.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import socket
import ssl
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from tests.helpers.kafka import Cluster
from tests.helpers.tls import Authority, Wire, ready_of, say_goodbye

HOST, BEHIND = "127.0.0.2", "127.0.0.1"
API_VERSIONS, SASL_HANDSHAKE, SASL_AUTHENTICATE = 18, 17, 36
UNSUPPORTED_MECHANISM, AUTHENTICATION_FAILED = 33, 58
REFUSAL = "Authentication failed: Invalid username or password"
ITERATIONS = 4096
LARGEST_FRAME = 100 << 20
"""As for brokers, bytes: the beginning of TLS, taken for a length, is more than that."""

Users = Mapping[str, str]
Step = Callable[[bytes], bytes]
"""One side of a talk: takes what the client says, gives what the server says to it."""


class WrongPasswordError(Exception):
    """The client is not who it says it is."""


@contextmanager
def doors(
    cluster: Cluster,
    authority: Authority | None = None,
    host: str = HOST,
    *,
    ask_clients: bool = False,
    users: Users | None = None,
) -> Iterator[list[str]]:
    """Give the addresses of doors before a cluster's brokers, host:port each.

    Args:
        cluster: the brokers behind the doors.
        authority: signs the doors' certificate, and that of the clients; None: no TLS.
        host: whom the certificate is made out to.
        ask_clients: let in only who shows a certificate.
        users: passwords of those that are let in; None: everybody is.
    """
    context = None
    if authority is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.sign("door", host))
        if ask_clients:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(authority.ca_file)
    with ExitStack() as stack:
        for port in cluster.ports:
            stack.callback(_Door(port, context, users).close)
        yield [f"{HOST}:{port}" for port in cluster.ports]


class _Door(Wire):
    def __init__(self, port: int, context: ssl.SSLContext | None, users: Users | None):
        self._users = users
        super().__init__(port, context, address=(HOST, port))

    def talk(self, client: socket.socket, server: socket.socket) -> None:
        """Carry frames both ways until one side ends; without a password only what comes first."""
        guard = None if self._users is None else _Guard(self._users)
        while True:
            ready = ready_of(client, server)
            if server in ready:
                answer = _take(server).replace(BEHIND.encode(), HOST.encode())
                _give(client, answer if guard is None else guard.announce(answer))
            if client in ready:
                request = _take(client)
                if guard is None or guard.lets_through(request):
                    _give(server, request)
                else:
                    _give(client, guard.answer(request))
                    if guard.has_refused:
                        say_goodbye(client)
                        return


class _Guard:
    """Speaks Kafka's SASL with one client, as a broker does: KIP-43 and KIP-152.

    Attributes:
        has_refused: set once the client has shown that it does not know the password.
    """

    def __init__(self, users: Users):
        self._users = users
        self._step: Step | None = None
        self._knows_client = self.has_refused = False
        self._asked_versions: set[bytes] = set()

    def lets_through(self, request: bytes) -> bool:
        """Tell whether a request is for the brokers."""
        (key,) = struct.unpack(">h", request[:2])
        if key == API_VERSIONS:
            self._asked_versions.add(request[4:8])
        return self._knows_client or key == API_VERSIONS

    def announce(self, answer: bytes) -> bytes:
        """Add to the list of what the brokers understand what is understood here."""
        if answer[:4] not in self._asked_versions:
            return answer
        self._asked_versions.discard(answer[:4])
        (count,) = struct.unpack(">i", answer[6:10])
        ours = struct.pack(">6h", SASL_HANDSHAKE, 0, 1, SASL_AUTHENTICATE, 0, 0)
        return answer[:6] + struct.pack(">i", count + 2) + ours + answer[10:]

    def answer(self, request: bytes) -> bytes:
        """Answer a request of one that is not known yet; b"" to what has no place here."""
        key, _, correlation, name = struct.unpack(">hhih", request[:10])
        body = request[10 + max(0, name) :]
        if key == SASL_HANDSHAKE:
            return correlation.to_bytes(4) + self._begin(body[2:].decode())
        if key == SASL_AUTHENTICATE and self._step is not None:
            return correlation.to_bytes(4) + self._go_on(self._step, body[4:])
        self.has_refused = True
        return b""

    def _begin(self, mechanism: str) -> bytes:
        step = {"PLAIN": self._plain, "SCRAM-SHA-256": self._scram_first}.get(mechanism)
        self._step, self.has_refused = step, step is None
        offered = b"".join(map(_text, ("PLAIN", "SCRAM-SHA-256")))
        return struct.pack(">hi", 0 if step else UNSUPPORTED_MECHANISM, 2) + offered

    def _go_on(self, step: Step, said: bytes) -> bytes:
        try:
            ours = step(said)
        except WrongPasswordError:
            self.has_refused = True
            return struct.pack(">h", AUTHENTICATION_FAILED) + _text(REFUSAL) + struct.pack(">i", 0)
        return struct.pack(">hhi", 0, -1, len(ours)) + ours

    def _plain(self, said: bytes) -> bytes:
        _, user, password = said.decode().split("\0")
        if self._users.get(user) != password:
            raise WrongPasswordError
        self._knows_client = True
        return b""

    # -- SCRAM, RFC 5802 ----------------------------------------------------------------

    def _scram_first(self, said: bytes) -> bytes:
        bare = said.decode().removeprefix("n,,")
        about = dict(part.split("=", 1) for part in bare.split(","))
        nonce, salt = about["r"] + secrets.token_hex(8), secrets.token_bytes(16)
        ours = f"r={nonce},s={base64.b64encode(salt).decode()},i={ITERATIONS}"
        self._step = lambda final: self._scram_final(final, f"{bare},{ours}", about["n"], salt)
        return ours.encode()

    def _scram_final(self, said: bytes, so_far: str, user: str, salt: bytes) -> bytes:
        final, _, proof = said.decode().rpartition(",p=")
        talk = f"{so_far},{final}".encode()
        password = self._users.get(user, secrets.token_hex())
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, ITERATIONS)
        key = _mac(salted, b"Client Key")
        signature = _mac(hashlib.sha256(key).digest(), talk)
        expected = bytes(a ^ b for a, b in zip(key, signature, strict=True))
        if not hmac.compare_digest(base64.b64decode(proof), expected):
            raise WrongPasswordError
        self._knows_client = True
        return b"v=" + base64.b64encode(_mac(_mac(salted, b"Server Key"), talk))


def _mac(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, "sha256")


def _text(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()


def _take(source: socket.socket) -> bytes:
    size = int.from_bytes(_exactly(source, 4))
    if size > LARGEST_FRAME:
        raise ConnectionError("no Kafka is spoken there")
    return _exactly(source, size)


def _exactly(source: socket.socket, count: int) -> bytes:
    found = bytearray()
    while len(found) < count:
        part = source.recv(count - len(found))
        if not part:
            raise ConnectionError("the other side has gone")
        found += part
    return bytes(found)


def _give(target: socket.socket, frame: bytes) -> None:
    if frame:
        target.sendall(len(frame).to_bytes(4) + frame)
