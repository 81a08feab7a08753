"""Encrypted documents end to end: wrong keys are said in log and status, right keys give sizes."""

import time

import pytest

from tests.helpers.commands import ended
from tests.helpers.rig import Rig, read_until

pytestmark = pytest.mark.system


def qd(*arguments: object) -> str:
    done = ended(*arguments)
    return done.stdout + done.stderr


def status_with(rig: Rig, words: str) -> str:
    deadline = time.monotonic() + 120  # a look takes seconds, on a slow machine ten
    while words not in (text := qd("status", rig.folder / "agent.yaml")):
        assert time.monotonic() < deadline, text
    return text


def test_wrong_keys_are_said_and_right_keys_give_every_frame(rig: Rig):
    ours, strangers = rig.folder / "ours", rig.folder / "strangers"
    assert "publisher.key_secret  for the publisher alone" in qd("keys", ours)
    qd("keys", strangers)
    keys = ["--curve-key", f"{ours}/publisher.key_secret", "--curve-clients", f"{ours}/clients"]
    beamline = rig.start_beamline("growth", "--frames", "3", "--binning", "4", *keys)
    rig.wait_for_calibration(beamline)

    def config(folder: str):
        server, secret = "ours/publisher.key", f"{folder}/agent.key_secret"
        source = {"address": rig.address, "curve_server_key": server, "curve_secret_key": secret}
        return rig.config(source=source)

    agent = rig.start_agent(config("strangers"))
    lines = read_until(agent, lambda line: "source is not connected" in line)
    assert "the publisher does not admit our key" in lines[-1]
    status_with(rig, f"{rig.address}: refused: the publisher does not admit our key")
    rig.terminate(agent)
    assert agent.returncode == 0

    agent = rig.start_agent(config("ours"))
    rig.wait_until_ready(agent)
    assert len(rig.predictions(3)) == 3
    assert beamline.wait(timeout=120) == 0
    said = rig.terminate(agent)
    assert "source is connected" in said
    assert agent.returncode == 0
    secret = (ours / "agent.key_secret").read_text().split('secret-key = "')[1].split('"')[0]
    assert secret not in said
    assert secret not in "".join(lines)
