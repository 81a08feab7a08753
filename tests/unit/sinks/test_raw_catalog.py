"""The catalog of raw runs as Tiled has it: the latest first, a page at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qd_agent.core.catalog import CatalogRun
from qd_agent.core.errors import Fatal, Unavailable
from qd_agent.embedded import RunningServer
from qd_agent.sinks import TiledConnection, TiledSettings, raw_catalog
from qd_agent.sinks.raw_archive import RawArchive
from tests.helpers.forwarder import forwarding
from tests.helpers.servers import running_tiled, tiled_client


@pytest.fixture
def raw(tiled_server: RunningServer, request: pytest.FixtureRequest) -> Iterator[tuple[str, Any]]:
    """A container of the test's own, and its client."""
    name = f"raw-{abs(hash(request.node.name))}"
    with tiled_client(tiled_server) as client:
        yield name, client.create_container(name)


def add(raw: Any, uid: str, **start: object) -> None:
    from tiled.structures.core import Spec

    metadata = {"start": {"uid": uid, "time": 1.0, **start}}
    raw.create_container(uid, metadata=metadata, specs=[Spec("BlueskyRun", version="3.0")])


def asked(server: RunningServer, name: str | None, following: str | None = None):
    settings = TiledSettings(raw_container=name)
    archive = RawArchive(settings, TiledConnection(server.url, server.secret))
    try:
        return archive.page(following)
    finally:
        archive.close()


def test_runs_come_latest_first_whenever_they_started(tiled_server: RunningServer, raw) -> None:
    name, container = raw
    for uid, when in (("b", 20.0), ("a", 10.5), ("c", 30.0)):
        add(container, uid, time=when, huge="x" * 10_000)
    page = asked(tiled_server, name)
    assert page is not None
    assert page.runs == [CatalogRun("c", 30.0), CatalogRun("a", 10.5), CatalogRun("b", 20.0)]
    assert page.following is None


def test_pages_follow_each_other_also_when_runs_come_meanwhile(
    tiled_server: RunningServer, raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw_catalog, "PAGE", 3)
    name, container = raw
    for number in range(8):
        add(container, f"run-{number}")
    found: list[str] = []
    following = None
    while True:
        page = asked(tiled_server, name, following)
        assert page is not None
        assert len(page.runs) <= 3
        found += [run.uid for run in page.runs]
        add(container, f"late-after-{found[-1]}")
        if page.following is None:
            break
        following = page.following
    assert found == [f"run-{number}" for number in reversed(range(8))]


@pytest.mark.parametrize("name", ["nowhere", "no/where"])
def test_a_catalog_that_is_not_there_is_none(tiled_server: RunningServer, name: str) -> None:
    assert asked(tiled_server, name) is None


def test_what_is_no_run_is_left_out(tiled_server: RunningServer, raw) -> None:
    name, container = raw
    container.create_container("folder", metadata={"start": "yesterday"})
    container.create_container("folder2", metadata={"start": {"uid": 3, "time": 1.0}})
    container.create_container("folder3", metadata={"start": {"uid": "x", "time": "noon"}})
    container.create_container("folder4", metadata={"start": {"uid": "x" * 200, "time": 1.0}})
    container.write_array([1, 2, 3], key="array")
    add(container, "run")
    page = asked(tiled_server, name)
    assert page is not None
    assert [run.uid for run in page.runs] == ["run"]


def test_runs_may_be_at_the_root(tiled_server: RunningServer) -> None:
    with tiled_client(tiled_server) as client:
        add(client, "at-the-root")
    page = asked(tiled_server, None)
    assert page is not None
    assert "at-the-root" in [run.uid for run in page.runs]


def test_a_server_that_is_away_or_refuses_us_is_said(tiled_server: RunningServer) -> None:
    settings = TiledSettings()
    with pytest.raises(Unavailable):
        RawArchive(settings, TiledConnection("http://127.0.0.1:9/api/v1", "secret")).page()
    with pytest.raises(Fatal, match="API key"):
        RawArchive(settings, TiledConnection(tiled_server.url, "wrong" * 8)).page()


def test_one_connection_serves_all_questions_and_outlives_the_server(tmp_path: Path) -> None:
    with (
        running_tiled(tmp_path / "catalog") as server,
        tiled_client(server) as client,
        forwarding(server.url) as (forwarder, url),
    ):
        add(client.create_container("raw"), "run")
        archive = RawArchive(TiledSettings(), TiledConnection(url, server.secret))
        assert archive.page() is not None
        root, target = archive._root, forwarder.target
        forwarder.cut()
        with pytest.raises(Unavailable):
            archive.page()
        forwarder.target = target
        page = archive.page()
        assert page is not None
        assert [run.uid for run in page.runs] == ["run"]
        assert archive._root is root
        archive.close()
