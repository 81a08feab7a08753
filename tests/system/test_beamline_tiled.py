"""The beamline and a real Tiled: runs arrive, and a dying server costs the scan nothing."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import zmq

from tests.helpers.rig import free_port
from tests.helpers.servers import running_tiled, tiled_client

pytestmark = pytest.mark.system

BEAMLINE = [sys.executable, "-m", "simulated_beamline"]
GROWTH = ["growth", "--binning", "4", "--darks", "2"]


@pytest.fixture
def address():
    return f"tcp://127.0.0.1:{free_port()}"


@pytest.fixture
def output(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def command(address, output, server, *more):
    arguments = ["--zmq", address, "--output", str(output), "--tiled-uri", server.url]
    return [*BEAMLINE, *GROWTH, *arguments, "--json", str(output / "account.json"), *more]


def test_a_run_arrives_in_tiled_with_both_streams(tmp_path, address, output):
    with running_tiled(tmp_path / "catalog", [output]) as server:
        subprocess.run(
            command(address, output, server, "--frames", "3", "--rate", "10"),
            env={**os.environ, "TILED_API_KEY": server.secret},
            check=True,
            timeout=120,
        )
        account = json.loads((output / "account.json").read_text())
        assert account["tiled"]["not_written"] == 0
        assert server.secret not in json.dumps(account)
        with tiled_client(server) as client:
            run = client["raw"][account["run_uids"][0]]
            assert run.metadata["stop"]["num_events"] == {"dark": 2, "primary": 3}
            assert run["dark"]["detector"].shape[0] == 2
            frames = run["primary"]["detector"].read()
            assert (frames.shape, frames.dtype) == ((3, 1, 260, 245), np.dtype(np.uint32))
            assert len(run["primary"]["monitor"].read()) == 3
            assert {spec.name for spec in client["raw"].specs} == {"CatalogOfBlueskyRuns"}


def test_a_server_that_dies_in_mid_run_costs_the_scan_nothing(tmp_path, address, output):
    with running_tiled(tmp_path / "catalog", [output]) as server:
        process = subprocess.Popen(
            command(
                address,
                output,
                server,
                "--frames",
                "8",
                "--rate",
                "10",
                "--wait-for-subscriber",
                "60",
                "--drain",
                "0.2",
            ),
            env={**os.environ, "TILED_API_KEY": server.secret},
            stderr=subprocess.PIPE,
            text=True,
        )
        context = zmq.Context()
        with context.socket(zmq.SUB) as subscriber:
            subscriber.setsockopt(zmq.SUBSCRIBE, b"raw event")
            subscriber.connect(address)
            assert subscriber.poll(60_000)
            server.stop()
        context.term()
        _, err = process.communicate(timeout=120)
    account = json.loads((output / "account.json").read_text())
    assert process.returncode == 0
    assert account["frames_taken"] == 8
    assert account["exit_status"] == "success"
    assert account["tiled"]["not_written"] > 0
    assert "did not take" in err
    assert "Traceback" not in err
