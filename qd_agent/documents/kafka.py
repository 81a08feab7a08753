"""Documents from Kafka, in the form in which bluesky-kafka publishes them.

bluesky-kafka itself is not used: importing it makes msgpack unpickle whatever claims to be an array
of objects, everywhere in the process.
"""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qd_agent.core.errors import BadFrame, Fatal, Mistake, Unavailable
from qd_agent.core.ports import Document
from qd_agent.documents.kafka_trouble import Troubles
from qd_agent.documents.pickles import Pickles
from qd_agent.documents.settings import MEBIBYTE, KafkaSettings
from qd_agent.documents.wire import loads_named

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message, TopicPartition

CONNECTED = "connected"
SESSION_MS = 45_000
"""A member of the group that is not heard of for so long has lost its partitions to the others."""
COMMIT_MS = 1000
"""How often the brokers are told how far the ledger is."""
LEAVE_S = 3.0
"""How long we wait at the end for the brokers to take the last commit."""
LOOK_MS = 1000
"""How often the client tells us how it stands with the brokers."""
BACKOFF_MS, LONGEST_BACKOFF_MS = 100, 10_000
"""Waits between two tries to reach a broker; they double."""
LOG_INFO = 6
"""The client's level at which it says of a connection that it was ended by the broker."""
NEW_TOPICS_MS = 10_000
"""How soon a topic is noticed that does not exist yet."""


class KafkaSource:
    """A member of a consumer group; implements `core.ports.DocumentSource`.

    The group's offsets move past a document only when the ledger holds what it made known, so
    what was in hand when the agent ended comes again; the ledger knows a frame that comes twice.
    `receive` belongs to one thread, `acknowledge` may be called on another.

    Raises:
        Fatal: confluent-kafka is not installed, or a setting or a secret cannot be used.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._kafka = _client()
        self._settings = settings
        self._given: deque[tuple[int, TopicPartition]] = deque()
        self._assignments = 0
        self._has_partitions = self._is_up = self._closed = False
        self._pickles = Pickles()
        password = None if settings.sasl_username is None else _password(settings)
        self._troubles = Troubles(settings, _hiding(password))
        try:
            self._consumer = self._kafka.Consumer(self._configuration(password))
        except self._kafka.KafkaException as error:
            raise Fatal(f"source {settings.shown}: {_reason(error.args[0])}") from error
        self._consumer.subscribe(
            settings.topics, on_assign=self._on_assign, on_revoke=self._on_revoke
        )

    @property
    def state(self) -> str:
        """'connected', 'connecting', or in a sentence why nothing can come."""
        if self._is_up and self._has_partitions:
            return self._pickles.state or CONNECTED
        return self._troubles.said

    def receive(self, timeout: float) -> Document | None:
        """Give the next document, or None after `timeout` seconds.

        Raises:
            BadFrame: the message is no document; it was passed over.
            Unavailable: the source is closed.
        """
        if self._closed:
            raise Unavailable(f"source {self._settings.shown} is closed")
        message = self._consumer.poll(max(0.0, timeout))
        if message is None:
            return None
        error = message.error()
        if error is not None:
            self._troubles.hear(error)
            return None
        document = self._decode(message)
        self._pickles.state = ""
        self._troubles.forget()
        self._given.append((self._assignments, self._after(message)))
        return document

    def acknowledge(self, count: int) -> None:
        """Let the group's offsets move past the oldest `count` documents."""
        done: dict[tuple[str, int], TopicPartition] = {}
        for _ in range(min(count, len(self._given))):
            assignment, place = self._given.popleft()
            # What came before the partitions changed hands is another member's to count now.
            if assignment == self._assignments:
                done[place.topic, place.partition] = place
        with suppress(self._kafka.KafkaException):  # the partition has changed hands just now
            if done:
                self._consumer.store_offsets(offsets=list(done.values()))

    def close(self) -> None:
        """Commit what is acknowledged, and leave the group; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        # Without brokers the client would wait for them until the session has run out.
        leaving = threading.Thread(target=self._consumer.close, name="leave Kafka", daemon=True)
        leaving.start()
        leaving.join(LEAVE_S)

    def _decode(self, message: Message) -> Document:
        try:
            return loads_named(message.value() or b"", self._settings.max_document_bytes)
        except BadFrame as error:
            raise self._pickles.kind_of(error)(
                f"message {message.offset()} of {message.topic()}[{message.partition()}] was "
                f"refused: {error}"
            ) from error

    def _after(self, message: Message) -> TopicPartition:
        offset = message.offset()
        return self._kafka.TopicPartition(
            message.topic(), message.partition(), 0 if offset is None else offset + 1
        )

    # -- what the client tells, all of it from within `poll` --------------------------------

    def _on_assign(self, _consumer: object, partitions: list[TopicPartition]) -> None:
        self._assignments += 1
        self._has_partitions = bool(partitions)
        if partitions:
            self._troubles.forget()
        else:
            self._troubles.share_nothing()

    def _on_revoke(self, _consumer: object, _partitions: list[TopicPartition]) -> None:
        self._assignments += 1
        self._has_partitions = False

    def _on_statistics(self, text: str) -> None:
        brokers: Mapping[str, Mapping[str, Any]] = json.loads(text)["brokers"]
        self._is_up = any(broker.get("state") == "UP" for broker in brokers.values())
        if self._is_up and self._has_partitions:
            self._troubles.forget()

    # -- settings -------------------------------------------------------------------------

    def _configuration(self, password: str | None) -> dict[str, Any]:
        settings = self._settings
        fetch = max(50 * MEBIBYTE, settings.max_document_bytes)
        found: dict[str, Any] = {
            "bootstrap.servers": ",".join(settings.brokers),
            "client.id": "qd-agent",
            "group.id": settings.group,
            "session.timeout.ms": SESSION_MS,
            "heartbeat.interval.ms": SESSION_MS // 15,
            "auto.offset.reset": settings.start,
            # Offsets are stored by `acknowledge` alone, and committed in the background.
            "enable.auto.offset.store": False,
            "enable.auto.commit": True,
            "auto.commit.interval.ms": COMMIT_MS,
            "allow.auto.create.topics": False,
            "topic.metadata.refresh.interval.ms": NEW_TOPICS_MS,
            "fetch.message.max.bytes": settings.max_document_bytes,
            "fetch.max.bytes": fetch,
            "receive.message.max.bytes": fetch + MEBIBYTE,
            "reconnect.backoff.ms": BACKOFF_MS,
            "reconnect.backoff.max.ms": LONGEST_BACKOFF_MS,
            "statistics.interval.ms": LOOK_MS,
            "log_level": LOG_INFO,
            "logger": self._troubles.logger(),
            "error_cb": self._troubles.hear,
            "stats_cb": self._on_statistics,
            "security.protocol": settings.security,
        }
        if password is not None:
            found["sasl.mechanism"] = settings.sasl_mechanism
            found["sasl.username"] = settings.sasl_username
            found["sasl.password"] = password
        for option, name in _TLS.items():
            path: Path | None = getattr(settings, name)
            if path is not None:
                if not path.is_file():
                    raise Mistake(f"source.{name}: {path} does not exist (or is no plain file)")
                found[option] = str(path)
        return found


_TLS = {
    "ssl.ca.location": "tls_ca_file",
    "ssl.certificate.location": "tls_certificate_file",
    "ssl.key.location": "tls_key_file",
}


def _client() -> Any:  # pyright: ignore[reportExplicitAny, reportAny] - an optional package
    try:
        import confluent_kafka  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise Fatal(
            "a source of kind kafka needs the package confluent-kafka, which is not installed; "
            "pip install 'qd-agent[kafka]'"
        ) from error
    return confluent_kafka


def _password(settings: KafkaSettings) -> str:
    if settings.sasl_password_env is not None:
        password = os.environ.get(settings.sasl_password_env)
        if not password:
            raise Mistake(
                f"source.sasl_password_env: the environment variable {settings.sasl_password_env} "
                "is not set"
            )
        return password
    path = settings.sasl_password_file or Path()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise Mistake(f"source.sasl_password_file: {path} cannot be read: {reason}") from error
    if not lines or not lines[0].strip():
        raise Mistake(f"source.sasl_password_file: the first line of {path} is empty")
    return lines[0].strip()


def _hiding(secret: str | None) -> Callable[[str], str]:
    """Give what takes a secret out of a text; a function, so that no object shows it."""
    return lambda text: text if secret is None else text.replace(secret, "...")


def _reason(error: KafkaError) -> str:
    return " ".join(error.str().split())[:200]
