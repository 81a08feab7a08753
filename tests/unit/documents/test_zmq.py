"""The ZeroMQ source takes what bluesky's Publisher sends, and survives everything else."""

import contextlib
import pickle
import socket
import threading
import time

import pytest
import zmq

from qd_agent.core.errors import BadFrame, Fatal, SaidBefore, Unavailable
from qd_agent.documents import ZmqSettings, open_source
from qd_agent.documents import zmq as zmq_source
from qd_agent.documents.wire import dumps
from qd_agent.documents.zmq import ZmqSource
from tests.helpers.documents import step_scan
from tests.helpers.hostile_documents import MARK, MESSAGES, SCANS
from tests.helpers.strangers import Imposter

WAIT = 60.0
"""Longest wait for a message on loopback, s; only a failing test uses it up."""


class Peer:
    """An XPUB socket that waits until its subscriber is really there."""

    def __init__(self):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.XPUB)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.address = f"tcp://127.0.0.1:{self.socket.bind_to_random_port('tcp://127.0.0.1')}"

    def connect(self, **settings):
        source = open_source(ZmqSettings(address=self.address, **settings))
        assert self.socket.poll(int(WAIT * 1000)), "nobody subscribed"
        self.subscription = self.socket.recv()
        return source

    def close(self):
        self.socket.close()
        self.context.term()


@pytest.fixture
def peer():
    peer = Peer()
    yield peer
    peer.close()


@pytest.fixture
def proxy():
    """What `bluesky-0MQ-proxy` is: gives the addresses for publishers and for subscribers."""
    context = zmq.Context()
    sockets = [context.socket(kind) for kind in (zmq.XSUB, zmq.XPUB)]
    ports = [end.bind_to_random_port("tcp://127.0.0.1") for end in sockets]

    def forward():
        with contextlib.suppress(zmq.ContextTerminated):
            zmq.proxy(*sockets)
        for end in sockets:
            end.close(0)

    thread = threading.Thread(target=forward)
    thread.start()
    yield tuple(f"tcp://127.0.0.1:{port}" for port in ports)
    context.term()
    thread.join(WAIT)


def test_documents_arrive_as_bluesky_publishes_them(proxy):
    pytest.importorskip("bluesky")
    from bluesky.callbacks.zmq import Publisher

    for_publishers, for_subscribers = proxy
    source = open_source(ZmqSettings(address=for_subscribers, prefix="raw"))
    publisher = Publisher(for_publishers, prefix=b"raw", serializer=dumps)
    try:
        documents = step_scan(3)
        # A publisher's first messages are lost until its connection stands; nothing tells when.
        while source.receive(0.05) is None:
            publisher("datum_page", {"resource": "are you there?"})
        for name, doc in documents:
            publisher(name, doc)
        received = []
        while len(received) < len(documents):
            document = source.receive(WAIT)
            assert document is not None
            if document[0] != "datum_page":
                received.append(document)
        assert received == documents
    finally:
        publisher.close()
        source.close()


@pytest.mark.parametrize("prefix", ["", "raw"])
def test_the_prefix_selects_documents(peer, prefix):
    source = peer.connect(prefix=prefix)
    try:
        for sent in (b"raw", b"raw2", b"raw"):
            peer.socket.send(b" ".join([sent, b"start", dumps({"uid": sent.decode()})]))
        uids = [source.receive(WAIT)[1]["uid"] for _ in range(3 if prefix == "" else 2)]
        assert uids == (["raw", "raw2", "raw"] if prefix == "" else ["raw", "raw"])
    finally:
        source.close()


def test_nothing_to_receive_gives_none_in_time(peer):
    source = peer.connect()
    assert source.receive(0.0) is None
    assert source.receive(0.02) is None
    source.close()


def test_hostile_messages_are_counted_and_the_source_goes_on(peer, capfd):
    source = peer.connect()
    try:
        for _, message in MESSAGES:
            peer.socket.send(message)
        peer.socket.send_multipart([b" start ", dumps({"uid": "x"})])
        peer.socket.send(b" start " + dumps({"uid": "good"}))
        for count in range(1, len(MESSAGES) + 2):
            with pytest.raises(BadFrame) as caught:
                source.receive(WAIT)
            assert "\n" not in str(caught.value)
            assert f"({count} so far)" in str(caught.value)
        assert source.receive(WAIT) == ("start", {"uid": "good"})
        assert (source.received, source.refused) == (len(MESSAGES) + 2, len(MESSAGES) + 1)
    finally:
        source.close()
    assert MARK not in "".join(capfd.readouterr())


def test_a_pickling_publisher_is_explained_once_and_counted_from_then_on(peer, monkeypatch):
    source = peer.connect()
    body = pickle.dumps({"uid": "x"})
    try:
        for _ in range(3):
            peer.socket.send(b" start " + body)
        with pytest.raises(BadFrame, match="set a safe serializer, see docs/how-to/zmq") as first:
            source.receive(WAIT)
        assert not isinstance(first.value, SaidBefore)
        assert source.state.startswith("refused: pickled documents are refused")
        for _ in range(2):
            with pytest.raises(SaidBefore):
                source.receive(WAIT)
        assert source.refused == 3
        monkeypatch.setattr(source._pickles, "_explain_at", 0.0)
        peer.socket.send(b" start " + body)
        with pytest.raises(BadFrame) as later:
            source.receive(WAIT)
        assert not isinstance(later.value, SaidBefore)
        peer.socket.send(b" start " + dumps({"uid": "good"}))
        assert source.receive(WAIT) == ("start", {"uid": "good"})
        assert source.state == "connected", "it has been put right"
    finally:
        source.close()


def test_a_document_beyond_the_limit_is_named(peer):
    source = peer.connect(max_document_bytes=1024)
    try:
        peer.socket.send(b" start " + dumps({"uid": "x" * 2000}))
        with pytest.raises(BadFrame, match="more than the limit of 1024"):
            source.receive(WAIT)
    finally:
        source.close()


def test_a_server_that_speaks_no_zeromq_does_no_harm():
    with socket.create_server(("127.0.0.1", 0)) as server:
        source = open_source(ZmqSettings(address=f"tcp://127.0.0.1:{server.getsockname()[1]}"))
        connection, _ = server.accept()
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(range(256)) * 4)
        connection.close()
        with contextlib.suppress(BadFrame):
            assert source.receive(0.05) is None
        source.close()


def nothing_from(source):
    """ZeroMQ of the year 2010 had no greeting: some bytes of a stranger are a message to it."""
    with contextlib.suppress(BadFrame):
        assert source.receive(0.01) is None


def subscribe_again(peer, source):
    """Let the source work until the publisher has its subscription (\\x01), again."""
    deadline = time.monotonic() + WAIT
    while not (peer.socket.poll(0) and peer.socket.recv()[:1] == b"\x01"):
        nothing_from(source)
        assert time.monotonic() < deadline, source.state


@pytest.mark.parametrize("size", [4 * 1024 + 100, 100_000])
def test_a_message_that_zeromq_itself_refuses_costs_a_connection_and_not_the_source(
    peer, monkeypatch, size
):
    """ZeroMQ cuts the connection before it makes room for the message, and never connects again."""
    monkeypatch.setattr(zmq_source, "RETRY_S", 0.1)
    source = peer.connect(max_document_bytes=1024)
    try:
        peer.socket.send(b" start " + b"x" * size)
        subscribe_again(peer, source)
        peer.socket.send(b" start " + dumps({"uid": "good"}))
        assert source.receive(WAIT) == ("start", {"uid": "good"})
    finally:
        source.close()


@pytest.mark.parametrize(("name", "answer"), SCANS, ids=[name for name, _ in SCANS])
def test_whoever_answers_in_the_place_of_a_publisher_does_no_harm(peer, monkeypatch, name, answer):
    monkeypatch.setattr(zmq_source, "RETRY_S", 0.1)
    imposter = Imposter(int(peer.address.rpartition(":")[2]))
    imposter.answer = answer
    source = open_source(ZmqSettings(address=f"tcp://127.0.0.1:{imposter.port}"))
    try:
        while not imposter.met.acquire(blocking=False):
            nothing_from(source)
        for _ in range(20):
            nothing_from(source)
        imposter.forward()
        subscribe_again(peer, source)
        peer.socket.send(b" start " + dumps({"uid": "good"}))
        assert source.receive(WAIT) == ("start", {"uid": "good"})
    finally:
        source.close()
        imposter.close()


@pytest.mark.parametrize("address", ["nonsense", "tcp://", "tcp://host", "ftp://a:1", "tcp://a:b"])
def test_an_address_that_is_none_is_fatal(address):
    with pytest.raises(Fatal, match=r"documents\.address") as caught:
        ZmqSource(ZmqSettings(address=address))
    assert "\n" not in str(caught.value)


def test_a_closed_source_is_unavailable_and_may_be_closed_again(peer):
    source = peer.connect()
    source.close()
    source.close()
    with pytest.raises(Unavailable):
        source.receive(0.0)
