"""Kafka behind TLS and passwords: real handshakes of the agent's own client, good and bad ones."""

import queue
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
from structlog.testing import capture_logs

from qd_agent.documents import KafkaSettings, open_source
from qd_agent.intake import Intake
from tests.helpers.kafka import Cluster, named
from tests.helpers.secure_kafka import HOST, doors
from tests.helpers.tls import Authority

PATIENCE = 60.0
PASSWORD, WRONG = "correct horse, battery", "hunter2"
USERS = {"qd": PASSWORD}
DOCUMENT = ("start", {"uid": "u"})


class Secrets(NamedTuple):
    """Who vouches for whom: ours signed the brokers' certificates, strangers signed none of them.

    Attributes:
        ca: our authority; `strangers` is another one.
        mine: our certificate and its key; `forged` is of the strangers' making.
    """

    ca: Authority
    strangers: Authority
    mine: tuple[Path, Path]
    forged: tuple[Path, Path]


@pytest.fixture(scope="module")
def cluster():
    return Cluster()


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    ca, strangers = Authority(folder / "ours"), Authority(folder / "theirs")
    return Secrets(ca, strangers, ca.sign("agent"), strangers.sign("agent"))


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
    """The brokers let a member in once all sessions have run out; the client tries ever slower."""
    monkeypatch.setattr("qd_agent.documents.kafka.SESSION_MS", 4000)
    monkeypatch.setattr("qd_agent.documents.kafka.LONGEST_BACKOFF_MS", 200)
    monkeypatch.setattr("qd_agent.intake.STATE_PAUSE_S", 0.0)
    monkeypatch.setenv("QD_RIGHT", PASSWORD)
    monkeypatch.setenv("QD_WRONG", WRONG)


@pytest.fixture
def topic(cluster, request):
    name = "".join(c if c.isalnum() else "." for c in request.node.name)
    cluster.make(name)
    cluster.send(name, named([DOCUMENT]))
    return name


def settings_of(brokers, topic, **security):
    return KafkaSettings.model_validate(
        {"kind": "kafka", "brokers": brokers, "topics": [topic], "group": topic, **security}
    )


def ssl(keys, **more):
    return {"security": "ssl", "tls_ca_file": keys.ca.ca_file, **more}


def mutual(pair):
    return {"tls_certificate_file": pair[0], "tls_key_file": pair[1]}


def sasl(mechanism, variable="QD_RIGHT", **more):
    return {
        "security": "sasl_plaintext",
        "sasl_mechanism": mechanism,
        "sasl_username": "qd",
        "sasl_password_env": variable,
        **more,
    }


def take_one(source):
    deadline = time.monotonic() + PATIENCE
    while (document := source.receive(0.2)) is None:
        assert time.monotonic() < deadline, source.state
    return document


def said_by(source):
    """Give the first sentence of a source that says why nothing can come."""
    deadline = time.monotonic() + PATIENCE
    while source.state == "connecting":
        assert source.receive(0.05) is None
        assert time.monotonic() < deadline
    return source.state


@pytest.mark.parametrize("way", ["ssl", "mutual", "plain", "scram"])
def test_documents_arrive_through_each_kind_of_door(cluster, keys, topic, way, tmp_path):
    secret = tmp_path / "kafka.secret"
    secret.write_text(f"{PASSWORD}\n")
    in_file = {"sasl_password_env": None, "sasl_password_file": secret}
    door, security = {
        "ssl": ({}, ssl(keys)),
        "mutual": ({"ask_clients": True}, ssl(keys, **mutual(keys.mine))),
        "plain": ({"users": USERS}, sasl("PLAIN") | ssl(keys, security="sasl_ssl")),
        "scram": (
            {"users": USERS},
            sasl("SCRAM-SHA-256", **in_file) | ssl(keys, security="sasl_ssl"),
        ),
    }[way]
    with doors(cluster, keys.ca, **door) as brokers:
        source = open_source(settings_of(brokers, topic, **security))
        assert take_one(source) == DOCUMENT
        assert source.state == "connected"
        source.close()


REFUSED = {
    "a certificate of a stranger's": (
        lambda k: {"authority": k.strangers},
        ssl,
        "is not vouched for by source.tls_ca_file",
    ),
    "a certificate of another host": (
        lambda k: {"authority": k.ca, "host": "kafka.example.org"},
        ssl,
        "is not made out to that host",
    ),
    "no CA that knows the broker": (
        lambda k: {"authority": k.ca},
        lambda _: {"security": "ssl"},
        "give source.tls_ca_file",
    ),
    "no certificate of ours": (
        lambda k: {"authority": k.ca, "ask_clients": True},
        ssl,
        "asks for a certificate of ours; give source.tls_certificate_file",
    ),
    "a forged certificate of ours": (
        lambda k: {"authority": k.ca, "ask_clients": True},
        lambda k: ssl(k, **mutual(k.forged)),
        "does not accept our certificate, source.tls_certificate_file",
    ),
    "a wrong password": (
        lambda _: {"users": USERS},
        lambda _: sasl("PLAIN", "QD_WRONG"),
        "the password of source.sasl_password_env",
    ),
    "a wrong password for SCRAM": (
        lambda _: {"users": USERS},
        lambda _: sasl("SCRAM-SHA-256", "QD_WRONG"),
        "the password of source.sasl_password_env",
    ),
    "another mechanism": (
        lambda _: {"users": USERS},
        lambda _: sasl("SCRAM-SHA-512"),
        "does not know source.sasl_mechanism SCRAM-SHA-512",
    ),
    "plaintext where TLS is wanted": (
        lambda k: {"authority": k.ca},
        lambda _: {},
        "source.security is plaintext: that port may want TLS (ssl)",
    ),
    "no user where one is wanted": (
        lambda k: {"authority": k.ca, "users": USERS},
        ssl,
        "source.security is ssl: that port may want a user (sasl_ssl)",
    ),
    "TLS where there is none": (
        lambda _: {},
        ssl,
        "does not answer to TLS; source.security is ssl",
    ),
    "a user where none is asked for": (
        lambda _: {},
        lambda _: sasl("PLAIN"),
        "asks for no user, but source.security is sasl_plaintext",
    ),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_is_wrong_is_said_in_one_sentence_that_stands_still(cluster, keys, topic, why):
    door, security, sentence = REFUSED[why]
    with doors(cluster, **door(keys)) as brokers:
        source = open_source(settings_of(brokers, topic, **security(keys)))
        said = said_by(source)
        assert said.startswith("refused: ")
        assert brokers[0] in said
        assert sentence in said
        assert PASSWORD not in said
        assert WRONG not in said
        for _ in range(20):
            assert source.receive(0.02) is None
            assert source.state in {said, "connecting"}
        source.close()


def test_brokers_that_are_not_there_or_nowhere_are_said(cluster, topic):
    absent = open_source(settings_of([f"127.0.0.3:{cluster.ports[0]}"], topic))
    assert said_by(absent).endswith("is not there (Connection refused)")
    absent.close()
    nowhere = open_source(settings_of(["kafka.invalid:9092"], topic))
    assert said_by(nowhere).startswith("connecting: kafka.invalid:9092 is no known host")
    nowhere.close()


@pytest.mark.parametrize("why", ["stranger", "password", "plaintext", "absent"])
def test_an_agent_goes_on_once_the_brokers_are_put_right(cluster, keys, topic, why):
    door, better, security = {
        "stranger": ({"authority": keys.strangers}, {"authority": keys.ca}, ssl(keys)),
        "password": (
            {"authority": keys.ca, "users": {"qd": WRONG}},
            {"authority": keys.ca, "users": USERS},
            sasl("PLAIN") | ssl(keys, security="sasl_ssl"),
        ),
        "plaintext": ({}, {"authority": keys.ca}, ssl(keys)),
        "absent": (None, {"authority": keys.ca}, ssl(keys)),
    }[why]
    arrivals: queue.Queue = queue.Queue(10)
    with ExitStack() as stack, capture_logs() as said:
        wrong = stack.enter_context(ExitStack())
        if door is not None:
            wrong.enter_context(doors(cluster, **door))
        brokers = [f"{HOST}:{port}" for port in cluster.ports]
        source = open_source(settings_of(brokers, topic, **security))
        intake = Intake("kafka", source, arrivals)
        intake.start()
        stack.callback(source.close)
        stack.callback(intake.stop)
        wait_until(lambda: said)
        assert intake.is_alive()
        wrong.close()
        stack.enter_context(doors(cluster, **better))
        assert arrivals.get(timeout=PATIENCE).document == DOCUMENT
        wait_until(lambda: said[-1]["event"] == "source is connected")
        assert said[0]["event"] == "source is not connected"
        assert said[0]["reason"].startswith("refused: " if door is not None else "connecting: ")
        assert brokers[0] in said[0]["reason"]
        assert PASSWORD not in repr(said)


def wait_until(what):
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)
