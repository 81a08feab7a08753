"""A beamline with nothing but Tiled, and TLS in front of it: frames come, predictions go."""

import json
import os
import subprocess
import sys

import pytest

from tests.helpers.forwarder import forwarding
from tests.helpers.rig import Rig, read_until
from tests.helpers.servers import running_tiled, tiled_client
from tests.helpers.tls import Authority, encrypted

pytestmark = pytest.mark.system

GROWTH = ["growth", "--frames", "3", "--darks", "0", "--binning", "4", "--rate", "10"]


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2].partition("/")[0])


def test_a_run_in_a_tiled_behind_tls_is_sized_into_it_once_it_is_the_right_one(rig: Rig):
    authority = Authority(rig.folder / "ca")
    stranger = Authority(rig.folder / "stranger", "stranger")
    rig.calibrate()
    with (
        running_tiled(rig.folder / "tiled", [rig.beamline_folder]) as server,
        tiled_client(server) as client,
        encrypted(server.url, stranger) as theirs,
        encrypted(server.url, authority) as ours,
        forwarding(theirs) as (wire, uri),
    ):
        config = rig.config(
            source={"kind": "tiled"},
            tiled={"uri": uri, "api_key_env": "QD_KEY", "tls_ca_file": str(authority.ca_file)},
        )
        agent = rig.start_agent(config, {"QD_KEY": server.secret})
        said = read_until(agent, lambda line: "source is not connected" in line)
        assert (
            "its certificate is not trusted; give the CA that signed it as tiled.tls_ca_file"
            in (said[-1])
        )
        wire.target = port_of(ours)
        scan(rig, server)
        said += read_until(agent, lambda line: "frame answered" in line and "/3/0" in line)
        (run_uid,) = {str(p["key"]["run_uid"]) for p in rig.predictions(3)}
        if not any("source is connected" in line for line in said):  # said some seconds later
            said += read_until(agent, lambda line: "source is connected" in line)
        said += rig.terminate(agent).splitlines()
        assert agent.returncode == 0
        told = [line for line in said if "source is not" in line and "not trusted" in line]
        assert len(told) == 1, told
        assert sum("source is connected" in line for line in said) == 1
        assert not [line for line in said if server.secret in line or "Traceback" in line]
        rows = client["qd_agent"][run_uid]["predictions"].read().sort_values("seq_num")
        assert list(rows["seq_num"]) == [1, 2, 3]
        # The first frame of a growth holds no nanocrystals yet.
        assert set(rows["verdict"]) <= {"sized", "no_nanocrystals"}, list(rows["reason"])
        assert rows["verdict"].iloc[-1] == "sized"


def scan(rig: Rig, server) -> None:
    """Take a run that goes into Tiled alone."""
    files = ["--output", str(rig.beamline_folder), "--json", str(rig.folder / "account.json")]
    outlets = ["--zmq", "tcp://127.0.0.1:0", "--tiled-uri", server.url]
    subprocess.run(
        [sys.executable, "-m", "simulated_beamline", *GROWTH, *outlets, *files],
        env={**os.environ, "TILED_API_KEY": server.secret},
        check=True,
        timeout=180,
    )
    account = json.loads((rig.folder / "account.json").read_text())
    assert account["tiled"]["not_written"] == 0
