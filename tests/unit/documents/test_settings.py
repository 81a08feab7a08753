"""The settings describe themselves and know no other keys."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from qd_agent.documents.settings import RouterSettings, ZmqSettings


@pytest.mark.parametrize("settings", [ZmqSettings, RouterSettings])
def test_every_field_is_described_and_unknown_ones_are_named(settings):
    assert all(field.description for field in settings.model_fields.values())
    with pytest.raises(ValidationError, match="adress"):
        settings.model_validate({"adress": "x"})


def test_defaults_are_those_of_a_local_proxy():
    assert ZmqSettings().address == "tcp://127.0.0.1:5578"
    assert ZmqSettings().max_document_bytes == 64 * 1024**2
    assert (RouterSettings().streams, RouterSettings().dark_streams) == (["primary"], ["dark"])


def test_the_doors_import_nothing_heavy():
    code = (
        "import sys, qd_agent.documents, qd_agent.frames;"
        "print([m for m in ('zmq', 'h5py', 'event_model', 'msgpack', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
