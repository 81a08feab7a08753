"""Runs come out of a Tiled behind TLS, and out of none whose certificate is not trusted."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest

from qd_agent.core.errors import Unavailable
from qd_agent.documents import TiledStreamSettings, open_source
from qd_agent.sinks import TiledSettings
from qd_agent.sinks.tls import hint
from tests.helpers.documents import step_scan
from tests.helpers.forwarder import forwarding
from tests.helpers.servers import tiled_server
from tests.helpers.tiled import door, writing
from tests.helpers.tls import Authority, encrypted

__all__ = ["tiled_server"]

PATIENCE = 60.0


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def told(tiled_server, request):
    """Write a run of three frames into Tiled, without TLS as a beamline of its own host does."""
    path = tiled_server.folder.parent / "readable" / f"{request.node.name}.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("entry/data/data", data=np.zeros((3, 8, 6), "<u4"), chunks=(1, 8, 6))
    documents = step_scan(3, uri=f"file://localhost{path}")
    with writing(tiled_server) as write:
        for document in documents:
            write(*document)
    return documents


def opened(server, uri: str, folder: Path, ca_file: Path):
    secret = folder / "secret"
    secret.write_text(server.secret)
    secret.chmod(0o600)
    settings = TiledSettings(uri=uri, api_key_file=secret, tls_ca_file=ca_file)
    explain = partial(hint, store="tiled")
    return open_source(TiledStreamSettings(kind="tiled"), door(server, settings, explain=explain))


def wait_for(source, wanted):
    """Receive until `wanted` says so of the documents; give them."""
    found, deadline = [], time.monotonic() + PATIENCE
    while not wanted(found):
        assert time.monotonic() < deadline, (source.state, found)
        try:
            document = source.receive(0.05)
        except Unavailable:
            continue
        found += [] if document is None else [document]
    return found


def has_ended(run_uid: str):
    return lambda docs: any(n == "stop" and d["run_start"] == run_uid for n, d in docs)


def test_a_run_arrives_over_tls_with_the_authority_of_the_settings(
    tiled_server, told, authority, tmp_path: Path
):
    run_uid = told[0][1]["uid"]
    with encrypted(tiled_server.url, authority) as uri:
        assert uri.startswith("https://")
        source = opened(tiled_server, uri, tmp_path, authority.ca_file)
        try:
            found = wait_for(source, has_ended(run_uid))
            assert source.state == "connected"
        finally:
            source.close()
    names = [name for name, _ in found]
    assert (names.count("event"), names.count("stream_datum")) == (3, 3)


def test_a_tiled_that_is_not_trusted_is_told_in_a_line_and_followed_once_the_right_one_answers(
    tiled_server, told, authority, tmp_path: Path
):
    stranger = Authority(tmp_path / "stranger", "stranger")
    run_uid = told[0][1]["uid"]
    with (
        encrypted(tiled_server.url, stranger) as theirs,
        encrypted(tiled_server.url, authority) as ours,
        forwarding(theirs) as (wire, uri),
    ):
        source = opened(tiled_server, uri, tmp_path, authority.ca_file)
        try:
            found = wait_for(source, lambda _: source.state != "connecting")
            said = source.state
            assert said.startswith(
                "connecting: Tiled cannot be talked to: its certificate is not trusted; give the "
                "CA that signed it as tiled.tls_ca_file"
            )
            assert said.isprintable()
            assert tiled_server.secret not in said
            assert found == []
            wire.target = int(ours.rpartition(":")[2].partition("/")[0])
            wait_for(source, has_ended(run_uid))
            assert source.state == "connected"
        finally:
            source.close()


def test_a_tiled_that_speaks_no_tls_is_told_apart(tiled_server, authority, tmp_path: Path):
    uri = tiled_server.url.replace("http://", "https://")
    source = opened(tiled_server, uri, tmp_path, authority.ca_file)
    try:
        wait_for(source, lambda _: source.state != "connecting")
        assert "what answers there does not speak TLS" in source.state
    finally:
        source.close()
