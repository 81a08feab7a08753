"""The page on last year's data: every command of it, as written, on a run of an archive."""

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
import tifffile

from qd_agent.config import load_config
from qd_agent.documents.recording import read_recording
from simulated_beamline.publish import ZmqPublisher
from tests.helpers.commands import qd_agent
from tests.helpers.pages import DOCS, blocks
from tests.helpers.recordings import FOLDER
from tests.helpers.rig import ROOT
from tests.helpers.servers import redis_client, running_redis, running_tiled, tiled_client
from tests.helpers.tiled import writing

pytestmark = pytest.mark.system

TEXT = (DOCS / "how-to/last-years-data.md").read_text()
COMMANDS = [a or b for a, b in re.findall(r"(?m)^\s*(qd-agent .*)$|`(qd-agent [^`]*)`", TEXT)]
RUN_UID = "9724b220-1fe7-4c1c-9d3b-2f1f6a0d5e11"
FRAMES = 3


def the_run(files) -> list[tuple[str, dict]]:
    """Give the documents of a recorded run, under the name and sample of the page."""
    recorded = [document for _, document in read_recording(FOLDER / "images" / "runs.jsonl")]
    last = next(at for at, (name, _) in enumerate(recorded) if name == "stop")
    text = json.dumps(recorded[: last + 1])
    text = text.replace(recorded[0][1]["uid"], RUN_UID).replace("/beamline", str(files))
    documents = [(str(name), doc) for name, doc in json.loads(text)]
    documents[0][1]["sample_name"] = "PbS"
    return documents


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with the page's configuration and its files, and the stores that it names."""
    files = tmp_path / "data" / "2025"
    shutil.copytree(FOLDER / "images" / "frames", files / "frames")
    shutil.copy(FOLDER / "images" / "detector.poni", tmp_path / "detector-2025.poni")
    np.save(tmp_path / "mask-2025.npy", tifffile.imread(FOLDER / "images" / "mask.tif"))
    monkeypatch.chdir(tmp_path)
    with (
        running_redis(tmp_path / "redis") as redis,
        running_tiled(tmp_path / "tiled", [files]) as tiled,
        ZmqPublisher("tcp://127.0.0.1:0") as beamline,
    ):
        with writing(tiled) as write:
            for document in the_run(files):
                write(*document)
        (page,) = blocks("how-to/last-years-data.md", "yaml")
        page = page.replace("/data/2025", str(files)).replace(
            "https://tiled.example.org", tiled.url
        )
        page += f"redis:\n  url: {redis.url}\n  password_env: REDIS_PASSWORD\n"
        (tmp_path / "last-year.yaml").write_text(page)
        agent = page.replace("data: last-year", "data: agent")
        (tmp_path / "agent.yaml").write_text(f"{agent}source:\n  address: {beamline.address}\n")
        monkeypatch.setenv("REDIS_PASSWORD", redis.secret)
        monkeypatch.setenv("TILED_API_KEY", tiled.secret)
        yield redis, tiled, beamline


def record(arguments: list[str], beamline: ZmqPublisher) -> None:
    """Let the recorder listen to a run, and stop it as one does."""
    recorder = subprocess.Popen(
        [sys.executable, "-m", "qd_agent", *arguments], stderr=subprocess.PIPE, text=True
    )
    beamline.wait_for_subscriber(120.0)
    documents = the_run("/detector/disk")
    for name, doc in documents:
        beamline(name, doc)
    written, deadline = Path(arguments[-1]), time.monotonic() + 60.0
    while not written.exists() or written.read_text().count("\n") < len(documents):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    recorder.send_signal(signal.SIGINT)
    said = recorder.communicate(timeout=60)[1]
    assert recorder.returncode == 0, said
    assert f"{len(documents)} documents recorded" in said


def test_every_command_of_the_page_does_what_it_is_there_for(place, monkeypatch):
    redis, tiled, beamline = place
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    header = types.SimpleNamespace(
        start={"uid": RUN_UID, "time": 0.0}, documents=lambda fill: the_run("/detector/disk")
    )
    broker = type("Broker", (dict,), {"__call__": lambda self, **_: list(self.values())})
    named = types.SimpleNamespace(named=lambda name: broker({RUN_UID: header}))
    monkeypatch.setitem(sys.modules, "databroker", types.ModuleType("databroker"))
    monkeypatch.setitem(sys.modules, "databroker.v1", types.SimpleNamespace(Broker=named))
    answers = {}
    for command in COMMANDS:
        _, *arguments = shlex.split(command)
        if arguments[0] == "record":
            record(arguments, beamline)
            continue
        answers[command] = qd_agent(*arguments).splitlines()
    assert len(answers) >= 6
    assert {len(lines) for lines in answers.values()} == {FRAMES}
    found = [json.loads(line) for c, lines in answers.items() if "--json" in c for line in lines]
    sizes = {(p["key"]["seq_num"], p["verdict"], p["diameter_nm"]) for p in found}
    assert {p["key"]["run_uid"] for p in found} == {RUN_UID}
    assert len(sizes) == FRAMES, "archive and recording give the same"
    with redis_client(redis) as client, tiled_client(tiled) as catalog:
        assert client.xlen("qd:predictions") == FRAMES, "published twice, there once"
        assert len(catalog["qd_agent"][RUN_UID]["predictions"].read()) == FRAMES


def test_the_configuration_of_the_page_is_valid(tmp_path):
    (block,) = blocks("how-to/last-years-data.md", "yaml")
    path = tmp_path / "last-year.yaml"
    path.write_text(block)
    config = load_config(path)
    assert config.frames.path_map == {"/detector/disk": "/data/2025"}
    assert config.data == tmp_path / "last-year"
