"""Publishing over ZMQ: the right layout, and no subscriber can hold up the scan."""

import logging
import threading
from pathlib import Path

import pytest
import zmq
import zmq.auth

from simulated_beamline.errors import BeamlineError
from simulated_beamline.publish import HIGH_WATER_MARK, Curve, ZmqPublisher
from simulated_beamline.wire import decode

ANY_PORT = "tcp://127.0.0.1:0"


@pytest.fixture
def subscribe():
    context = zmq.Context()
    sockets = []

    def connect(address, hwm=1000):
        socket = context.socket(zmq.SUB)
        socket.set_hwm(hwm)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SUBSCRIBE, b"raw")
        socket.connect(address)
        sockets.append(socket)
        return socket

    yield connect
    for socket in sockets:
        socket.close()
    context.term()


def test_a_subscriber_that_was_waited_for_gets_every_document(subscribe):
    with ZmqPublisher(ANY_PORT) as publisher:
        socket = subscribe(publisher.address)
        publisher.wait_for_subscriber(60.0)
        for number in range(20):
            publisher("event", {"seq_num": number})
        assert socket.poll(60_000)
        got = [socket.recv().split(b" ", 2) for _ in range(20)]
    assert {tuple(parts[:2]) for parts in got} == {(b"raw", b"event")}
    assert [decode(parts[2])["seq_num"] for parts in got] == list(range(20))
    assert (publisher.sent, publisher.failed) == (20, 0)


def test_a_subscriber_that_never_reads_holds_up_nothing(subscribe):
    with ZmqPublisher(ANY_PORT) as publisher:
        subscribe(publisher.address, hwm=1)
        publisher.wait_for_subscriber(60.0)
        for number in range(HIGH_WATER_MARK // 20):
            publisher("event", {"seq_num": number, "padding": "x" * 1000})
        assert publisher.failed == 0
        publisher._socket.setsockopt(zmq.LINGER, 0)


def test_nobody_there_is_said_with_the_address():
    with (
        ZmqPublisher(ANY_PORT) as publisher,
        pytest.raises(BeamlineError, match=rf"{publisher.address} within 0.05 s"),
    ):
        publisher.wait_for_subscriber(0.05)


def test_an_interrupt_ends_the_waiting():
    interrupted = threading.Event()
    interrupted.set()
    with (
        ZmqPublisher(ANY_PORT) as publisher,
        pytest.raises(BeamlineError, match="interrupted before the scan"),
    ):
        publisher.wait_for_subscriber(60.0, interrupted)


def test_a_document_that_cannot_be_sent_is_counted_and_the_scan_goes_on(caplog):
    with ZmqPublisher(ANY_PORT) as publisher, caplog.at_level(logging.WARNING):
        publisher("event", {"bad": object()})
        publisher("event", {"huge": 2**70})
        publisher("stop", {})
    assert (publisher.sent, publisher.failed) == (1, 2)
    assert len(caplog.messages) == 2


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:notaport", "nonsense", "udp://1.2.3.4:5"])
def test_an_address_that_cannot_be_bound_is_named(address):
    with pytest.raises(BeamlineError, match="cannot publish at"):
        ZmqPublisher(address)


def test_a_taken_port_is_named():
    with (
        ZmqPublisher(ANY_PORT) as first,
        pytest.raises(BeamlineError, match=r"in use.*another --zmq"),
    ):
        ZmqPublisher(first.address)


def test_keys_that_cannot_be_used_are_said_with_their_files(tmp_path: Path):
    with pytest.raises(BeamlineError, match=r"absent\.key_secret cannot be used"):
        ZmqPublisher(ANY_PORT, curve=Curve(tmp_path / "absent.key_secret"))
    public, secret = zmq.auth.create_certificates(tmp_path, "publisher")
    for key, clients in ((public, None), (secret, tmp_path / "nowhere")):
        with pytest.raises(BeamlineError, match="cannot be used"):
            ZmqPublisher(ANY_PORT, curve=Curve(Path(key), clients))
