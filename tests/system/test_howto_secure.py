"""The page on closed doors works as it is written: bluesky's own proxy with our keys."""

import re
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import yaml

from qd_agent.config import Config
from qd_agent.documents import ZmqSettings
from qd_agent.documents.curve import make_keys
from qd_agent.documents.zmq import ZmqSource
from qd_agent.documents.zmq_link import CONNECTED, NOT_ADMITTED
from qd_agent.exposure import open_doors
from tests.helpers.rig import ROOT, free_port

PAGE = ROOT / "docs" / "how-to" / "secure.md"
pytestmark = pytest.mark.system


def blocks(language: str) -> list[str]:
    found = re.findall(
        rf"^ *```{language}\n(.*?)^ *```", PAGE.read_text(), re.DOTALL | re.MULTILINE
    )
    return [textwrap.dedent(block) for block in found]


def state_of(settings: dict, wanted: str) -> str:
    source = ZmqSource(ZmqSettings.model_validate(settings))
    deadline = time.monotonic() + 60
    while source.state != wanted and time.monotonic() < deadline:
        source.receive(0.05)
    source.close()
    return source.state


def test_every_key_on_the_page_is_one_that_the_configuration_has():
    for block in blocks("yaml"):
        tree = yaml.safe_load(block)
        config = Config.model_validate({"reduction": {"poni": "a.poni"}, **tree})
        assert open_doors(config) == [], "and what it shows leaves no door open"


def test_a_proxy_set_up_as_written_lets_in_its_own_agent_and_nobody_else(tmp_path: Path):
    make_keys(tmp_path / "keys")
    make_keys(tmp_path / "strangers")
    (code,) = blocks("python")
    port = free_port()
    code = code.replace("tcp://*:5578", f"tcp://127.0.0.1:{port}").replace("5577", str(free_port()))
    proxy = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path)
    try:
        ours = yaml.safe_load(blocks("yaml")[0])["source"]
        ours["address"] = f"tcp://127.0.0.1:{port}"
        for key in ("curve_server_key", "curve_secret_key"):
            ours[key] = str(tmp_path / ours[key])
        assert state_of(ours, CONNECTED) == CONNECTED
        theirs = {**ours, "curve_secret_key": str(tmp_path / "strangers" / "agent.key_secret")}
        assert state_of(theirs, NOT_ADMITTED) == NOT_ADMITTED
    finally:
        proxy.kill()
        proxy.wait()
