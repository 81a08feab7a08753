"""A Kafka cluster for tests: librdkafka's own mock brokers, which any process may talk to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from confluent_kafka import Producer

LIMIT_S = 60.0
"""Longest wait for the brokers, which are threads of this process."""


class Cluster:
    """Mock brokers that live as long as this object.

    Attributes:
        brokers: their addresses, host:port.
        ports: the ports of these.
    """

    def __init__(self, brokers: int = 1):
        self._owner = Producer(
            {"test.mock.num.brokers": brokers, "bootstrap.servers": "ignored", "log_level": 0}
        )
        found = self._owner.list_topics(timeout=LIMIT_S).brokers.values()
        self.brokers = [f"{broker.host}:{broker.port}" for broker in found]
        self.ports = [broker.port for broker in found]

    def make(self, topic: str) -> None:
        """Have a topic made, as these brokers do for whoever asks for it."""
        self._owner.list_topics(topic, timeout=LIMIT_S)

    def send(self, topic: str, values: Iterable[bytes], key: str = "run") -> None:
        """Produce messages, and wait until the brokers have them."""
        for value in values:
            self._owner.produce(topic, value=value, key=key)
        assert self._owner.flush(LIMIT_S) == 0


@contextmanager
def running_cluster(brokers: int = 1) -> Iterator[Cluster]:
    """Mock brokers for as long as the block lasts."""
    yield Cluster(brokers)


def named(documents: Iterable[tuple[str, Mapping[str, object]]]) -> list[bytes]:
    """Encode documents as bluesky-kafka does; here with our own arrays."""
    from qd_agent.documents import _msgpack
    from qd_agent.documents.wire import _plain

    return [_msgpack.pack((name, doc), default=_plain) for name, doc in documents]
