"""A Tiled of our own: private, persistent, able to read a detector's files, never left behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import h5py
import numpy as np
import psutil
import pytest
from event_model import compose_run

from qd_agent.core.errors import Fatal
from qd_agent.embedded import RunningServer, find_server, start_tiled
from tests.helpers.servers import all_gone, tiled_client

_AGENT = """
import sys, time
from pathlib import Path
from qd_agent.embedded import start_tiled
server = start_tiled(Path(sys.argv[1]))
print(server.pid, server.process.pid, flush=True)
time.sleep(600)
"""


def test_nobody_gets_in_without_the_key_and_nobody_sees_it(tiled_server: RunningServer) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(tiled_server.url + "/metadata/")
    assert caught.value.code == 401
    caught.value.close()
    with tiled_client(tiled_server) as root:
        assert root.metadata is not None
    arguments = [
        " ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])
    ]
    assert not any(tiled_server.secret in line for line in arguments)
    assert tiled_server.secret not in repr(tiled_server)
    for log in tiled_server.folder.glob("*.log"):
        assert tiled_server.secret not in log.read_text()
    assert "GET" in (tiled_server.folder / "access.log").read_text()
    listening = psutil.Process(tiled_server.pid).net_connections("inet")
    assert {connection.laddr.ip for connection in listening} == {"127.0.0.1"}


def test_a_run_with_files_of_a_detector_comes_back_as_documents(
    tiled_server: RunningServer,
) -> None:
    from bluesky_tiled_plugins import TiledWriter
    from tiled.structures.core import Spec

    frames = np.arange(2 * 3 * 4, dtype="u4").reshape(2, 3, 4)
    path = tiled_server.folder.parent / "readable" / "frames.h5"
    with h5py.File(path, "w") as file:
        file["entry/data"] = frames
    with tiled_client(tiled_server) as root:
        root.create_container("raw", specs=[Spec("CatalogOfBlueskyRuns", "3.0")])
        uid = _write_run(TiledWriter(root["raw"], batch_size=1), path)
        run = root["raw"][uid]
        assert np.array_equal(np.squeeze(run["primary"]["detector"].read()), frames)
        names = [name for name, _ in run.documents()]
    assert names[0] == "start"
    assert names[-1] == "stop"
    assert "stream_resource" in names


def test_a_file_outside_the_readable_folders_is_refused(
    tiled_server: RunningServer, tmp_path: Path
) -> None:
    from bluesky_tiled_plugins import TiledWriter

    path = tmp_path / "secret.h5"
    with h5py.File(path, "w") as file:
        file["entry/data"] = np.zeros((2, 3, 4), "u4")
    with tiled_client(tiled_server) as root:
        uid = _write_run(TiledWriter(root.create_container("outside"), batch_size=1), path)
        frames = root["outside"][uid]["primary"]["detector"]
        # Asked plainly: the client would try for 45 s in the hope of better luck.
        answer = root.context.http_client.get(frames.item["links"]["full"])
        assert answer.is_error


def _write_run(write, path: Path) -> str:
    run = compose_run(metadata={"plan_name": "count"})
    write("start", run.start_doc)
    stream = run.compose_descriptor(
        name="primary",
        data_keys={
            "detector": {
                "source": "test",
                "dtype": "array",
                "dtype_numpy": "<u4",
                "shape": [1, 3, 4],
                "external": "STREAM:",
            }
        },
    )
    write("descriptor", stream.descriptor_doc)
    resource = run.compose_stream_resource(
        mimetype="application/x-hdf5",
        uri=f"file://localhost{path}",
        data_key="detector",
        parameters={"dataset": "/entry/data", "chunk_shape": (1, 3, 4)},
    )
    write("stream_resource", resource.stream_resource_doc)
    datum = resource.compose_stream_datum(
        indices={"start": 0, "stop": 2},
        seq_nums={"start": 1, "stop": 3},
        descriptor=stream.descriptor_doc,
    )
    write("stream_datum", datum)
    write("stop", run.compose_stop())
    return run.start_doc["uid"]


def test_the_catalog_outlives_an_agent_that_was_killed_and_the_server_does_not(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "a folder with 100% odd 'name'"
    agent = subprocess.Popen(
        [sys.executable, "-c", _AGENT, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert agent.stdout is not None
    pids = agent.stdout.readline().split()
    running = [psutil.Process(int(pid)) for pid in pids]
    found = find_server(folder)
    assert found is not None
    with tiled_client(found) as root:
        root.write_array(np.arange(3), key="kept")
    with agent:
        agent.send_signal(signal.SIGKILL)
    assert all_gone(running)
    server = start_tiled(folder)
    try:
        with tiled_client(server) as root:
            assert root["kept"].read().tolist() == [0, 1, 2]
    finally:
        server.stop()


def test_a_folder_whose_name_breaks_every_uri_is_refused(tmp_path: Path) -> None:
    for name in ("what?", "no#1", "two\nlines"):
        with pytest.raises(Fatal, match="choose a folder without"):
            start_tiled(tmp_path / name)


def test_a_damaged_catalog_stops_with_the_servers_own_last_words(tmp_path: Path) -> None:
    (tmp_path / "catalog.db").write_bytes(b"no database" * 1000)
    with pytest.raises(Fatal, match=r"stopped at once: .*not a database") as caught:
        start_tiled(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Fatal, match=r"needs the package tiled.*pip install 'qd-agent\[embedded\]'"):
        start_tiled(tmp_path)
