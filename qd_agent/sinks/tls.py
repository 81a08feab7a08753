"""TLS for the stores: whom to trust, and what to show of ourselves."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from qd_agent.core.errors import Mistake


@dataclass(frozen=True, slots=True)
class Tls:
    """Files in PEM.

    Attributes:
        ca_file: certificates of those who may vouch for the server; None: those of the system.
        certificate_file: our own certificate, for servers that ask for one.
        key_file: its private key, without a passphrase; None: it is in `certificate_file`.
    """

    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None

    def context(self, store: str) -> ssl.SSLContext:
        """Give a context that checks the server's certificate and name.

        Args:
            store: name of the part of the configuration, 'redis' or 'tiled'.

        Raises:
            Mistake: a file is missing or garbled; the line names setting, file and remedy.
        """
        context = ssl.create_default_context()
        if self.ca_file is not None:
            setting = f"{store}.tls_ca_file: {_there(f'{store}.tls_ca_file', self.ca_file)}"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # nobody else may vouch for it
            try:
                context.load_verify_locations(cafile=self.ca_file)
            except (ssl.SSLError, OSError) as error:
                raise Mistake(f"{setting} holds no certificate in PEM ({_why(error)})") from None
        if self.certificate_file is not None:
            self._show(context, store, self.certificate_file)
        return context

    def _show(self, context: ssl.SSLContext, store: str, certificate: Path) -> None:
        setting = f"{store}.tls_certificate_file: {certificate}"
        _there(f"{store}.tls_certificate_file", certificate)
        if self.key_file is not None:
            setting += f" and {store}.tls_key_file: {self.key_file}"
            _there(f"{store}.tls_key_file", self.key_file)
        try:
            # Without a passphrase of our own, OpenSSL would ask for one at the terminal.
            context.load_cert_chain(certificate, self.key_file, password=lambda: "")
        except (ssl.SSLError, OSError, ValueError) as error:
            raise Mistake(
                f"{setting}: no certificate with its private key, in PEM and without a "
                f"passphrase ({_why(error)})"
            ) from None


def hint(reason: str, store: str) -> str:
    """Give `reason` with what can be done about it, where it is about TLS."""
    asks = f"it may ask for our certificate: {store}.tls_certificate_file"
    remedies = {
        "CERTIFICATE_VERIFY_FAILED": f"its certificate is not trusted; give the CA that signed it "
        f"as {store}.tls_ca_file, and the name that it is made out to as host",
        "WRONG_VERSION_NUMBER": "what answers there does not speak TLS",
        "RECORD_LAYER_FAILURE": "what answers there does not speak TLS",
        "ALERT_CERTIFICATE_REQUIRED": f"it asks for our certificate: {store}.tls_certificate_file",
        "EOF_OCCURRED_IN_VIOLATION": asks,
        "ALERT_HANDSHAKE_FAILURE": asks,
        "ALERT_UNKNOWN_CA": f"it does not trust our certificate, {store}.tls_certificate_file",
    }
    for sign, remedy in remedies.items():
        if sign in reason.upper().replace(" ", "_"):
            return f"{remedy} ({reason})"
    return reason


def _there(setting: str, path: Path) -> Path:
    if not path.is_file():
        raise Mistake(f"{setting}: {path} does not exist (or is no plain file)")
    return path


def _why(error: Exception) -> str:
    return (getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error))[:120]
