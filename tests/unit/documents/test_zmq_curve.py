"""Encrypted documents: right keys get them, wrong keys get nothing and a sentence that says why."""

import time
from pathlib import Path

import pytest

from qd_agent.core.errors import Mistake
from qd_agent.documents import ZmqSettings, zmq
from qd_agent.documents.curve import make_keys
from qd_agent.documents.zmq import ZmqSource
from qd_agent.documents.zmq_link import CONNECTED, CONNECTING, NO_AGREEMENT, NO_ZMQ, NOT_ADMITTED
from tests.helpers.curve import publishing_process
from tests.helpers.rig import free_port

PATIENCE = 60.0
START = ("start", {"uid": "run-1", "time": 1.0})


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    make_keys(tmp_path / "keys")
    return tmp_path / "keys"


@pytest.fixture
def strangers(tmp_path: Path) -> Path:
    make_keys(tmp_path / "strangers")
    return tmp_path / "strangers"


@pytest.fixture(autouse=True)
def short_pause(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(zmq, "RETRY_S", 0.2)


def source(address: str, server: Path | None = None, client: Path | None = None) -> ZmqSource:
    return ZmqSource(
        ZmqSettings(
            address=address,
            curve_server_key=server and server / "publisher.key",
            curve_secret_key=client and client / "agent.key_secret",
        )
    )


def wait_for(made: ZmqSource, state: str) -> list:
    """Receive until the source is in `state`; give what came meanwhile."""
    deadline, got = time.monotonic() + PATIENCE, []
    while made.state != state and time.monotonic() < deadline:
        got += filter(None, [made.receive(0.02)])
    assert made.state == state
    return got


def test_the_right_keys_get_documents(keys: Path):
    with publishing_process(keys / "publisher.key_secret", keys / "clients") as address:
        made = source(address, keys, keys)
        wait_for(made, CONNECTED)
        assert made.receive(PATIENCE) == START
        made.close()


def test_a_key_that_is_not_admitted_gets_nothing_and_is_told(keys: Path, strangers: Path):
    with publishing_process(keys / "publisher.key_secret", keys / "clients") as address:
        made = source(address, keys, strangers)
        assert wait_for(made, NOT_ADMITTED) == []
        made.close()


def test_without_a_list_of_clients_the_publishers_key_is_enough(keys: Path, strangers: Path):
    with publishing_process(keys / "publisher.key_secret") as address:
        made = source(address, keys, strangers)
        assert made.receive(PATIENCE) == START
        made.close()


def test_another_publisher_than_the_one_expected_is_not_listened_to(keys: Path, strangers: Path):
    with publishing_process(strangers / "publisher.key_secret") as address:
        made = source(address, keys, keys)
        assert wait_for(made, NO_AGREEMENT) == []
        made.close()


def test_a_publisher_that_does_not_encrypt_is_not_listened_to(keys: Path):
    with publishing_process(None) as address:
        made = source(address, keys, keys)
        assert wait_for(made, NO_AGREEMENT) == []
        made.close()


def test_who_has_no_keys_is_told_that_keys_are_asked_for(keys: Path):
    with publishing_process(keys / "publisher.key_secret") as address:
        made = source(address)
        assert wait_for(made, NO_ZMQ) == []
        made.close()


@pytest.mark.parametrize("at_first", ["not admitted", "not encrypted", "another's"])
def test_once_the_publisher_is_put_right_documents_come_without_a_restart(
    keys: Path, strangers: Path, at_first: str
):
    """After a refusal ZeroMQ itself never tries again."""
    address = f"tcp://127.0.0.1:{free_port()}"
    key, clients, state = {
        "not admitted": (keys / "publisher.key_secret", strangers / "clients", NOT_ADMITTED),
        "not encrypted": (None, None, NO_AGREEMENT),
        "another's": (strangers / "publisher.key_secret", None, NO_AGREEMENT),
    }[at_first]
    made = source(address, keys, keys)
    assert made.state == CONNECTING
    with publishing_process(key, clients, address):
        assert wait_for(made, state) == []
    with publishing_process(keys / "publisher.key_secret", keys / "clients", address):
        wait_for(made, CONNECTED)
        assert made.receive(PATIENCE) == START
    wait_for(made, CONNECTING)
    made.close()


def test_keys_that_cannot_be_used_are_said_before_anything_is_connected(keys: Path):
    (keys / "agent.key_secret").chmod(0o644)
    with pytest.raises(Mistake, match="chmod 600"):
        source("tcp://127.0.0.1:1", keys, keys)
