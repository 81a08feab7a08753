"""Keys of CURVE, ZeroMQ's encryption: files in the format of `zmq.auth`, read and made.

A key pair is two files: `name.key` (public) and `name.key_secret` (both halves).
"""

from __future__ import annotations

import os
import stat
import struct
from dataclasses import dataclass, field
from pathlib import Path

import zmq
from zmq.auth import create_certificates, load_certificate
from zmq.utils import z85

from qd_agent.core.errors import Mistake

PUBLISHER, AGENT, CLIENTS = "publisher", "agent", "clients"
"""Names of the key pairs that `make_keys` makes, and the folder of those that are let in."""

REMEDY = "`qd-agent keys DIR` makes keys, see docs/how-to/secure.md"


@dataclass(frozen=True, slots=True)
class CurveKeys:
    """What a subscriber needs, in Z85; the repr is without them.

    Attributes:
        server: public key of the publisher.
        public: our own public key.
        secret: our own secret key.
    """

    server: bytes = field(repr=False)
    public: bytes = field(repr=False)
    secret: bytes = field(repr=False)


def read_keys(server_key: Path, secret_key: Path) -> CurveKeys:
    """Read the publisher's public key and our own pair.

    Raises:
        Mistake: a file is missing, garbled, the wrong one, or our secret is readable by others;
            the line names the setting, the file and the remedy.
    """
    setting = f"source.curve_server_key: {server_key}"
    server, _ = _load(setting, server_key)
    _check_key(setting, server)
    setting = f"source.curve_secret_key: {secret_key}"
    public, secret = _load(setting, secret_key)
    if secret is None:
        raise Mistake(f"{setting} holds no secret key; give the .key_secret file")
    _check_private(setting, secret_key)
    _check_key(setting, public)
    _check_key(setting, secret)
    if zmq.curve_public(secret) != public:
        raise Mistake(f"{setting}: its public and secret keys do not belong together; {REMEDY}")
    return CurveKeys(server, public, secret)


def make_keys(folder: Path) -> list[Path]:
    """Make a key pair for the publisher and one for the agent, and the folder of clients.

    Returns:
        The files made: both halves for either side, and the agent's public key once more under
        `clients`, the folder that a publisher is told to let in.

    Raises:
        Mistake: one of the files is there already, or the folder cannot be written.
    """
    clients = folder / CLIENTS
    wanted = [
        folder / f"{name}{suffix}"
        for name in (PUBLISHER, AGENT)
        for suffix in (".key", ".key_secret")
    ]
    there = [path for path in (*wanted, clients / f"{AGENT}.key") if path.exists()]
    if there:
        raise Mistake(f"{there[0]} exists already; keys are never overwritten, choose a new folder")
    # Nobody else may have a look between the making of a file and a change of its mode.
    before = os.umask(0o077)
    try:
        clients.mkdir(parents=True, exist_ok=True)
        for name in (PUBLISHER, AGENT):
            create_certificates(folder, name)
        public = folder / f"{AGENT}.key"
        copy = clients / public.name
        copy.write_bytes(public.read_bytes())
    except OSError as error:
        raise Mistake(f"{folder}: keys cannot be written: {error.strerror or error}") from error
    finally:
        os.umask(before)
    for path in (*wanted, copy):
        path.chmod(0o600 if path.suffix == ".key_secret" else 0o644)
    return [*wanted, copy]


def _load(setting: str, path: Path) -> tuple[bytes, bytes | None]:
    try:
        if not path.is_file():
            raise Mistake(f"{setting} does not exist (or is no plain file); {REMEDY}")
        return load_certificate(path)
    except OSError as error:
        raise Mistake(f"{setting} cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # no public key in it, or no text at all
        raise Mistake(f"{setting} is no CURVE key file; {REMEDY}") from error


def _check_key(setting: str, key: bytes) -> None:
    try:
        size = len(z85.decode(key)) if len(key) == 40 else 0
    except (ValueError, KeyError, struct.error):  # other characters, or beyond 32 bits
        size = 0
    if size != 32:
        raise Mistake(f"{setting} holds a garbled key, not 40 characters of Z85; {REMEDY}")


def _check_private(setting: str, path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o007:
        raise Mistake(
            f"{setting} may be read by every user of this machine (mode {mode:04o}); "
            f"chmod 600 {path}, and make new keys if others have had access"
        )
