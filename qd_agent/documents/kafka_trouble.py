"""What a Kafka client's errors mean, and what to do about them, in sentences that stand still.

The client says the same thing with other milliseconds at every try; a state that changed with them
would be a new line in the log each time.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from confluent_kafka import KafkaError

    from qd_agent.documents.settings import KafkaSettings

CONNECTING = "connecting"
OTHERS_READ = "connected, but other agents of the group read all"
LONGEST_REASON = 200
"""Characters of what the client or a broker says that are passed on."""
AT_ONCE_MS = 2000
"""A broker that ends a connection so soon does not want it; later it may just be idle."""

_LINE = re.compile(
    r"(?:\w+://)?(?P<broker>[^/\s]+:\d+)(?:/\w+)?: (?P<reason>.*?)"
    r"(?: \(after (?P<age>\d+)ms in state (?P<phase>\w+).*\))?",
    re.DOTALL,
)
_CERTIFICATE_ALERT = re.compile(r"SSL alert number (?:4[2-689]|51|116)\b")
"""Bad, unsupported, revoked, expired or unknown certificate, unknown CA, no access, a signature
that does not fit, and none at all where one is asked for: RFC 8446, section 6.2."""
_DETAIL = re.compile(r"^Connect to \S+ failed: |error:[0-9A-F]+:SSL routines:[^:]*:")
"""Which of a host's addresses was tried, and where in OpenSSL it failed."""


class Failure(NamedTuple):
    """One line of the client about one broker.

    Attributes:
        broker: host:port.
        reason: what went wrong, one printable line.
        phase: how far the connection was, as the client names it; '' when it does not say.
        age_ms: how long it was there, ms.
    """

    broker: str
    reason: str
    phase: str = ""
    age_ms: int = 0


def read(text: str, settings: KafkaSettings) -> Failure:
    """Take a line of the client apart; one of another form is a reason of the first broker's."""
    found = _LINE.fullmatch(text)
    if found is None:
        return Failure(settings.brokers[0], _one_line(text))
    reason = _one_line(_DETAIL.sub("", found["reason"]))
    return Failure(found["broker"], reason, found["phase"] or "", int(found["age"] or 0))


class Troubles:
    """Why nothing comes, from what the client tells.

    Args:
        settings: of the source; sentences name what of them may be wrong.
        hide: takes secrets out of a text: brokers may send back what they were sent.
    """

    def __init__(self, settings: KafkaSettings, hide: Callable[[str], str]) -> None:
        self._settings, self._hide = settings, hide
        self._of_brokers: dict[str, str] = {}
        self._of_group = ""

    @property
    def said(self) -> str:
        """The trouble to be cured first, in a sentence; 'connecting' when there is none."""
        sentences = [*sorted(self._of_brokers.values()), self._of_group]
        refusals = [sentence for sentence in sentences if sentence.startswith("refused")]
        return next(iter(refusals), "") or self._of_group or (sentences[0] or CONNECTING)

    def forget(self) -> None:
        """Begin anew: documents come."""
        self._of_brokers.clear()
        self._of_group = ""

    def share_nothing(self) -> None:
        """Note that the group has no partition left for us."""
        self.forget()
        self._of_group = OTHERS_READ

    def hear(self, error: KafkaError) -> None:
        """Take in an error of the client's."""
        settings, name = self._settings, error.name()
        if name in {"TOPIC_AUTHORIZATION_FAILED", "GROUP_AUTHORIZATION_FAILED"}:
            self._of_group = f"refused: we may not read {settings.shown} as group {settings.group}"
        elif name == "UNKNOWN_TOPIC_OR_PART":
            self._of_group = f"connecting: there is no topic {'+'.join(settings.topics)} yet"
        elif name in _SENTENCES:
            failure = read(self._hide(error.str()), settings)
            self._of_brokers[failure.broker] = _SENTENCES[name](failure, settings)

    def hear_line(self, line: str) -> None:
        """Take in a line of the client's log: it makes no error of a connection that just ends."""
        failure = read(self._hide(line.rpartition("]: ")[2]), self._settings)
        early = failure.phase == "APIVERSION_QUERY" or failure.phase.startswith("AUTH")
        if failure.reason.startswith("Disconnected") and (
            early or (failure.phase == "UP" and failure.age_ms < AT_ONCE_MS)
        ):
            self._of_brokers[failure.broker] = _ended(failure, self._settings)

    def logger(self) -> logging.Logger:
        """Make a logger for the client that nobody else hears."""
        logger = logging.Logger("kafka client")
        logger.addHandler(_Ear(self.hear_line))
        return logger


class _Ear(logging.Handler):
    def __init__(self, hear: Callable[[str], None]) -> None:
        super().__init__()
        self._hear = hear

    def emit(self, record: logging.LogRecord) -> None:
        self._hear(record.getMessage())


def _user(failure: Failure, settings: KafkaSettings) -> str:
    broker, reason = failure.broker, failure.reason
    if "SASL Handshake not supported" in reason:
        return (
            f"refused: {broker} asks for no user, but source.security is {settings.security} "
            f"({reason})"
        )
    if "Broker transport failure" in reason:
        return _ended(failure, settings)  # it hung up on hearing which mechanism we know
    if "mechanism" in reason:
        return (
            f"refused: {broker} does not know source.sasl_mechanism {settings.sasl_mechanism} "
            f"({reason})"
        )
    key = "file" if settings.sasl_password_env is None else "env"
    return (
        f"refused: {broker} does not accept source.sasl_username {settings.sasl_username} with "
        f"the password of source.sasl_password_{key}; correct it there and restart, or at the "
        f"broker ({reason})"
    )


def _tls(failure: Failure, settings: KafkaSettings) -> str:
    broker, reason = failure.broker, failure.reason
    if _CERTIFICATE_ALERT.search(reason):
        if settings.tls_certificate_file is None:
            return (
                f"refused: {broker} asks for a certificate of ours; give "
                f"source.tls_certificate_file and tls_key_file ({reason})"
            )
        return (
            f"refused: {broker} does not accept our certificate, source.tls_certificate_file "
            f"{settings.tls_certificate_file} ({reason})"
        )
    if "certificate verify failed" in reason:
        by = "any CA of the system's; give source.tls_ca_file"
        if settings.tls_ca_file is not None:
            by = f"source.tls_ca_file {settings.tls_ca_file}"
        return (
            f"refused: the certificate of {broker} is not made out to that host, has expired, or "
            f"is not vouched for by {by}"
        )
    return f"refused: TLS with {broker} fails, see source.security and source.tls_... ({reason})"


def _transport(failure: Failure, settings: KafkaSettings) -> str:
    reason = failure.reason
    if "certificate verify failed" in reason or "SSL alert" in reason:
        return _tls(failure, settings)
    if failure.phase == "SSL_HANDSHAKE":
        return (
            f"refused: {failure.broker} does not answer to TLS; source.security is "
            f"{settings.security}: does that port speak it?"
        )
    if reason.startswith("Disconnected"):
        return _ended(failure, settings)
    return f"connecting: {failure.broker} is not there ({reason})"


def _ended(failure: Failure, settings: KafkaSettings) -> str:
    other = f"another source.sasl_mechanism than {settings.sasl_mechanism}"
    wanted = {
        "plaintext": "TLS (ssl) or a user (sasl_...)",
        "ssl": "a user (sasl_ssl) or a certificate of ours",
        "sasl_plaintext": f"TLS (sasl_ssl) or {other}",
        "sasl_ssl": f"a certificate of ours or {other}",
    }[settings.security]
    return (
        f"refused: {failure.broker} ends our connections at once; source.security is "
        f"{settings.security}: that port may want {wanted}"
    )


def _unresolved(failure: Failure, _settings: KafkaSettings) -> str:
    return f"connecting: {failure.broker} is no known host, see source.brokers ({failure.reason})"


_SENTENCES: dict[str, Callable[[Failure, KafkaSettings], str]] = {
    "_AUTHENTICATION": _user,
    "SASL_AUTHENTICATION_FAILED": _user,
    "UNSUPPORTED_SASL_MECHANISM": _user,
    "_SSL": _tls,
    "_TRANSPORT": _transport,
    "_TIMED_OUT": _transport,
    "_RESOLVE": _unresolved,
}


def _one_line(text: str) -> str:
    words = " ".join(text.split())
    return "".join(c if c.isprintable() else "?" for c in words)[:LONGEST_REASON]
