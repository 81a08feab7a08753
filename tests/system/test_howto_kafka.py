"""The page for Kafka beamlines works as it is written: its own code, bluesky-kafka, our source."""

import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from qd_agent.documents import KafkaSettings, kafka_trouble, open_source
from tests.helpers.kafka import Cluster
from tests.helpers.pages import DOCS, blocks, config_of

PAGE = "how-to/kafka-beamline.md"
BROKER = "kafka.example.org:9092"
pytestmark = pytest.mark.system

SCAN = """
from bluesky import RunEngine
from bluesky.plans import count
from ophyd.sim import det
RE = RunEngine({{}}, context_managers=[])
{code}
RE(count([det], 3))
publisher.flush()
"""


def test_documents_of_a_beamline_set_up_as_written_arrive(tmp_path):
    (code,) = blocks(PAGE, "python")
    plain, _, _ = blocks(PAGE, "yaml")
    cluster = Cluster()
    address = ",".join(cluster.brokers)
    (settings,) = config_of(plain.replace(BROKER, address), tmp_path).source
    assert isinstance(settings, KafkaSettings)
    cluster.make(settings.topics[0])
    # As told, `latest`: here the scan comes first.
    source = open_source(settings.model_copy(update={"start": "earliest"}))
    script = SCAN.format(code=code.replace(BROKER, address))
    # The mock brokers have no idempotent producers, which bluesky-kafka asks for.
    script = script.replace('{"acks": "all"}', '{"acks": "all", "enable.idempotence": False}')
    try:
        subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, timeout=120)
        names = []
        while names[-1:] != ["stop"]:
            document = source.receive(1.0)
            names += [] if document is None else [document[0]]
        assert names == ["start", "descriptor", "event", "event", "event", "stop"]
    finally:
        source.close()


def test_the_other_configurations_are_valid(tmp_path):
    _, secure, several = blocks(PAGE, "yaml")
    (source,) = config_of(secure, tmp_path).source
    assert isinstance(source, KafkaSettings)
    assert source.sasl_password_file == tmp_path / "kafka.secret"
    assert [source.kind for source in config_of(several, tmp_path).source] == ["zmq", "kafka"]


def test_every_setting_and_every_sentence_on_the_page_is_the_agents_own():
    page = (DOCS / PAGE).read_text()
    keys = {name for name in KafkaSettings.model_fields if name.startswith(("sasl_", "tls_"))}
    ways = set(get_args(KafkaSettings.model_fields["security"].annotation))
    named = set(re.findall(r"`((?:sasl|tls)_\w+|plaintext|ssl)`", page))
    assert named == keys | ways
    said = re.findall(
        r"`(?:refused|connecting): (?:the certificate of )?HOST:PORT ([^`]*?)(?: \.\.\.)?`", page
    )
    code = re.sub(r'"\n\s+f?"', "", Path(kafka_trouble.__file__).read_text())
    assert len(said) == 8
    assert [sentence for sentence in said if sentence not in code] == []
