"""The Kafka source: bluesky-kafka's messages, no pickle, and offsets that follow the books."""

import json
import pickle
import subprocess
import sys
import time

import numpy as np
import pytest

from qd_agent.core.errors import BadFrame, Fatal, Mistake, SaidBefore, Unavailable
from qd_agent.documents import KafkaSettings, open_source
from tests.helpers.documents import step_scan
from tests.helpers.hostile_documents import BODIES, MARK
from tests.helpers.kafka import Cluster, named

TOPIC = "beamline.bluesky"
PATIENCE = 60.0


@pytest.fixture(scope="module")
def cluster():
    return Cluster()


@pytest.fixture(autouse=True)
def _short_sessions(monkeypatch):
    """The mock brokers let a member in only once all of the group's sessions have run out."""
    monkeypatch.setattr("qd_agent.documents.kafka.SESSION_MS", 4000)


@pytest.fixture
def topic(cluster, request):
    name = f"{TOPIC}.{request.node.name}"
    cluster.make(name)
    return name


def opened(cluster, topic, **settings):
    return open_source(
        KafkaSettings(kind="kafka", brokers=cluster.brokers, topics=[topic], **settings)
    )


def take(source, count):
    """Receive so many documents."""
    found, deadline = [], time.monotonic() + PATIENCE
    while len(found) < count:
        assert time.monotonic() < deadline, (source.state, found)
        document = source.receive(0.2)
        if document is not None:
            found.append(document)
    return found


BEAMLINE = """
import sys
import numpy as np
from bluesky_kafka import Publisher
from event_model import compose_run
publisher = Publisher(topic=sys.argv[1], bootstrap_servers=sys.argv[2], key="beamline",
                      producer_config={"enable.idempotence": False, "log_level": 0})
run = compose_run(time=1.0)
publisher("start", run.start_doc)
keys = {"image": {"source": "s", "dtype": "array", "shape": [3, 4], "dtype_numpy": "<u2"},
        "monitor": {"source": "s", "dtype": "number", "shape": []}}
stream = run.compose_descriptor(name="primary", data_keys=keys)
publisher("descriptor", stream.descriptor_doc)
data = {"image": np.arange(12, dtype="<u2").reshape(3, 4), "monitor": np.float64(7.5)}
publisher("event", stream.compose_event(data=data, timestamps=dict.fromkeys(data, 2.0)))
publisher("stop", run.compose_stop())
publisher.flush()
"""


def test_what_bluesky_kafka_publishes_in_another_process_arrives_whole(cluster, topic):
    source = opened(cluster, topic, group="whole")
    try:
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", BEAMLINE, topic, ",".join(cluster.brokers)],
            check=True,
            timeout=120,
        )
        names, docs = zip(*take(source, 4), strict=True)
        assert names == ("start", "descriptor", "event", "stop")
        image = docs[2]["data"]["image"]
        assert (image.dtype, image.tolist()) == (
            np.dtype("<u2"),
            np.arange(12).reshape(3, 4).tolist(),
        )
        assert docs[2]["data"]["monitor"] == 7.5
        assert source.state == "connected"
    finally:
        source.close()


def test_json_bodies_are_understood_too(cluster, topic):
    cluster.send(topic, [json.dumps(["start", {"uid": "u", "time": 1.0}]).encode()])
    source = opened(cluster, topic, group="json")
    assert take(source, 1) == [("start", {"uid": "u", "time": 1.0})]
    source.close()


def test_what_the_books_do_not_hold_comes_again_and_what_they_hold_does_not(cluster, topic):
    documents = step_scan(5)
    cluster.send(topic, named(documents))
    first = opened(cluster, topic, group="books")
    assert take(first, 8) == documents[:8]
    first.acknowledge(5)
    first.close()
    second = opened(cluster, topic, group="books")
    assert take(second, len(documents) - 5) == documents[5:]
    second.acknowledge(len(documents) - 5)
    second.close()
    third = opened(cluster, topic, group="books")
    cluster.send(topic, named([("start", {"uid": "next"})]))
    assert take(third, 1) == [("start", {"uid": "next"})]
    third.close()


def test_two_agents_of_one_group_share_and_neither_forgets_for_the_other(cluster, topic):
    """What was in hand when the partitions changed hands is the other one's to count."""
    documents = step_scan(6)
    cluster.send(topic, named(documents))
    one = opened(cluster, topic, group="shared")
    take(one, 4)
    other = opened(cluster, topic, group="shared")
    deadline = time.monotonic() + PATIENCE
    seen = []
    while one._assignments < 3:  # assigned, revoked, assigned anew
        assert time.monotonic() < deadline
        seen += [d for s in (one, other) if (d := s.receive(0.1)) is not None]
    before = one._assignments
    one.acknowledge(4)
    assert one._assignments == before
    # Nobody had acknowledged any of them in time, so all of them come again.
    while any(document not in seen for document in documents):
        assert time.monotonic() < deadline, len(seen)
        seen += [d for s in (one, other) if (d := s.receive(0.1)) is not None]
    one.close()
    other.close()


def test_hostile_messages_are_refused_and_the_source_goes_on(cluster, topic, capfd):
    bodies = [body for _, body in BODIES] + [
        pickle.dumps(("start", {})),
        pickle.dumps(("start", {})),
        json.dumps(["exec", {}]).encode(),
        json.dumps(["start", {}, 3]).encode(),
        b"[" * 100_000,
        b"",
    ]
    cluster.send(topic, [*bodies, *named([("start", {"uid": "good"})])])
    source = opened(cluster, topic, group="hostile")
    refused, document, deadline = [], None, time.monotonic() + PATIENCE
    while document is None:
        assert time.monotonic() < deadline
        try:
            document = source.receive(0.2)
        except BadFrame as error:
            refused.append(error)
    assert document == ("start", {"uid": "good"})
    assert "\n" not in "".join(map(str, refused))
    assert len(refused) == len(bodies)
    explained = [e for e in refused if "pickled documents are refused" in str(e)]
    assert [isinstance(e, SaidBefore) for e in explained] == [False] + [True] * (len(explained) - 1)
    source.acknowledge(1)
    source.close()
    assert MARK not in "".join(capfd.readouterr())


def test_a_topic_that_does_not_exist_yet_is_said_and_waited_for(cluster, monkeypatch):
    monkeypatch.setattr("qd_agent.documents.kafka.NEW_TOPICS_MS", 200)
    source = opened(cluster, "not.there.yet", group="early")
    deadline = time.monotonic() + PATIENCE
    while source.receive(0.1) is None and source.state == "connecting":
        assert time.monotonic() < deadline
        if time.monotonic() > deadline - PATIENCE + 2.0:
            break  # these brokers make a topic when they are asked for it
    cluster.send("not.there.yet", named([("start", {"uid": "u"})]))
    assert take(source, 1) == [("start", {"uid": "u"})]
    source.close()


def test_brokers_that_go_and_come_back_cost_nothing(topic):
    pytest.importorskip("confluent_kafka")
    own = Cluster(brokers=3)
    own.make(topic)
    source = opened(own, topic, group="comes-back")
    own.send(topic, named([("start", {"uid": "1"})]))
    take(source, 1)
    assert source.state == "connected"
    del own  # the brokers are gone
    deadline = time.monotonic() + PATIENCE
    while source.state == "connected":
        assert source.receive(0.2) is None
        assert time.monotonic() < deadline
    assert source.state.startswith("connecting")
    source.acknowledge(1)
    source.close()


def test_a_closed_source_is_unavailable_and_may_be_closed_again(cluster, topic):
    source = opened(cluster, topic)
    source.close()
    source.close()
    with pytest.raises(Unavailable):
        source.receive(0.0)


KAFKA = {"kind": "kafka", "brokers": ["kafka.example.org:9093"], "topics": ["t"]}
USER = {"sasl_username": "qd", "sasl_password_env": "QD_KAFKA"}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"brokers": []}, "at least 1"),
        ({"brokers": ["no port"]}, "pattern"),
        ({"topics": ["^.*"]}, "pattern"),
        ({"security": "sasl_ssl"}, "sasl_ssl needs sasl_username"),
        ({"security": "sasl_ssl", **USER, "sasl_password_file": "p"}, "one of"),
        ({**USER}, "security is plaintext"),
        ({"tls_ca_file": "ca.pem"}, "security is plaintext"),
        ({"security": "ssl", "tls_key_file": "k.pem"}, "go together"),
        ({"sasl_password": "hunter2"}, "sasl_password"),
    ],
)
def test_settings_that_do_not_fit_together_are_named(wrong, said):
    with pytest.raises(ValueError, match=said) as caught:
        KafkaSettings.model_validate({**KAFKA, **wrong})
    assert "hunter2" not in str(caught.value)


def test_secrets_come_from_files_or_the_environment_and_are_never_said(tmp_path, monkeypatch):
    secure = KafkaSettings.model_validate({**KAFKA, "security": "sasl_ssl", **USER})
    with pytest.raises(Mistake, match="QD_KAFKA is not set"):
        open_source(secure)
    monkeypatch.setenv("QD_KAFKA", "hunter2")
    open_source(secure).close()
    file = tmp_path / "password"
    settings = {**KAFKA, "security": "sasl_ssl", "sasl_username": "qd", "sasl_password_file": file}
    with pytest.raises(Mistake, match="cannot be read"):
        open_source(KafkaSettings.model_validate(settings))
    file.write_text("\n")
    with pytest.raises(Mistake, match=r"first line .* is empty"):
        open_source(KafkaSettings.model_validate(settings))
    file.write_text("hunter2\n")
    source = open_source(KafkaSettings.model_validate(settings))
    assert "hunter2" not in repr(vars(source))
    source.close()
    with pytest.raises(Mistake, match=r"source\.tls_ca_file: .*absent\.pem does not exist"):
        open_source(
            KafkaSettings.model_validate(
                {**KAFKA, "security": "ssl", "tls_ca_file": tmp_path / "absent.pem"}
            )
        )
    (tmp_path / "garbled.pem").write_text("no certificate")
    with pytest.raises(Fatal, match="source t at kafka"):
        open_source(
            KafkaSettings.model_validate(
                {**KAFKA, "security": "ssl", "tls_ca_file": tmp_path / "garbled.pem"}
            )
        )


def test_without_the_package_the_remedy_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(Fatal, match=r"pip install 'qd-agent\[kafka\]'"):
        open_source(KafkaSettings.model_validate(KAFKA))
