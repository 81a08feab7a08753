"""A certificate authority, and a wire that puts TLS in front of a server that has none.

The servers behind it are the real ones, so that tests of TLS run wherever the others run.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

REQUEST = b" HTTP/1.1\r\n", b" HTTP/1.1\r\nX-Forwarded-Proto: https\r\n"
"""What a proxy adds to each request, so that Tiled names itself by https:// in its answers."""

NOW = datetime.datetime.now(datetime.UTC)


class Authority:
    """Signs certificates; everything goes into `folder` as PEM.

    Attributes:
        ca_file: its own certificate.
    """

    def __init__(self, folder: Path, name: str = "ca"):
        folder.mkdir(exist_ok=True)
        self._folder, self._name = folder, _name(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(self._name, self._key)
            .issuer_name(self._name)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.ca_file = folder / f"{name}.pem"
        self.ca_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def sign(self, name: str, host: str = "127.0.0.1", passphrase: bytes | None = None):
        """Give the paths (certificate, key) of a new pair that is made out to `host`."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(_name(name), key)
            .issuer_name(self._name)
            .add_extension(x509.SubjectAlternativeName([_host(host)]), critical=False)
            .add_extension(_usage(signs=False), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        paths = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        locked = (
            serialization.NoEncryption()
            if passphrase is None
            else serialization.BestAvailableEncryption(passphrase)
        )
        form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        paths[1].write_bytes(key.private_bytes(*form, locked))
        paths[1].chmod(0o600)
        return paths


@contextmanager
def encrypted(
    url: str,
    authority: Authority,
    host: str = "127.0.0.1",
    *,
    ask_clients: bool = False,
    forwards_scheme: bool = True,
) -> Iterator[str]:
    """Give the TLS form of `url` (redis://127.0.0.1:... or http://127.0.0.1:...).

    Args:
        url: of a server on loopback.
        authority: signs the wire's certificate; with `ask_clients` also that of its clients.
        host: whom the certificate is made out to.
        ask_clients: let in only who shows a certificate.
        forwards_scheme: tell an HTTP server that its clients see https://, as a proxy should.
    """
    scheme, _, rest = url.partition("://127.0.0.1:")
    port, _, path = rest.partition("/")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.sign(f"wire-{port}", host))
    if ask_clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority.ca_file)
    wire = Wire(int(port), context, REQUEST if scheme == "http" and forwards_scheme else (b"", b""))
    try:
        yield f"{scheme}s://127.0.0.1:{wire.port}/{path}"
    finally:
        wire.close()


class Wire:
    """A server on loopback of its own that ends TLS and talks on to the one behind it.

    Attributes:
        port: where it listens.

    Args:
        target: port on 127.0.0.1 of the server behind it.
        context: certificate and demands; None leaves clients in without TLS.
        replace: what to replace, and by what, in what clients send.
        address: where to listen; port 0 takes a free one.
    """

    def __init__(
        self,
        target: int,
        context: ssl.SSLContext | None,
        replace: tuple[bytes, bytes] = (b"", b""),
        address: tuple[str, int] = ("127.0.0.1", 0),
    ):
        self._target, self._context, self._replace = target, context, replace
        self._listening = socket.create_server(address)
        self.port = int(self._listening.getsockname()[1])
        self._open: set[socket.socket] = set()
        self._closing = False
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        self._closing = True  # first: a connection that is just being made sees it, or is broken
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for end in list(self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(client,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, raw: socket.socket) -> None:
        raw.settimeout(30.0)
        # Whoever has gone already fails here, or at any later point: no reason to end a test.
        with contextlib.suppress(OSError), self._wrapped(raw) as client:
            self._open.add(client)
            try:
                if not self._closing:
                    self._let_in(client)
            finally:
                self._open.discard(client)

    def _wrapped(self, raw: socket.socket) -> socket.socket:
        if self._context is None:
            return raw
        return self._context.wrap_socket(raw, server_side=True, do_handshake_on_connect=False)

    def _let_in(self, client: socket.socket) -> None:
        try:
            if isinstance(client, ssl.SSLSocket):
                client.do_handshake()
        except ssl.SSLError:
            say_goodbye(client)
            return
        with socket.create_connection(("127.0.0.1", self._target)) as server:
            self.talk(client, server)

    def talk(self, client: socket.socket, server: socket.socket) -> None:
        """Copy both ways until one side ends; on one thread, as a TLS connection is for one."""
        while True:
            ready = ready_of(client, server)
            for source, target in ((client, server), (server, client)):
                if source in ready:
                    part = source.recv(65536)
                    if not part:
                        return
                    if target is server and self._replace[0]:
                        part = part.replace(*self._replace)
                    target.sendall(part)


def ready_of(client: socket.socket, server: socket.socket) -> list[socket.socket]:
    """Wait until one of the two, or both, can be read from."""
    if isinstance(client, ssl.SSLSocket) and client.pending():
        return [client]
    return select.select([client, server], [], [])[0]


def say_goodbye(client: socket.socket) -> None:
    """Let the alert arrive: closing with unread bytes would reset the connection."""
    client.shutdown(socket.SHUT_WR)
    while client.recv(65536):
        pass


def _builder(name: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    day = datetime.timedelta(days=1)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - day)
        .not_valid_after(NOW + day)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
