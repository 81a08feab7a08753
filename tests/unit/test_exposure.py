"""Open doors are warned of, closed ones are not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import redis

from qd_agent.config import Config
from qd_agent.embedded.redis import find_program
from qd_agent.exposure import is_local, open_doors
from qd_agent.sinks import RedisConnection, TiledConnection
from qd_agent.sinks.checks import open_redis, open_tiled
from tests.helpers.rig import free_port, refusing_port
from tests.helpers.servers import redis_server, tiled_server  # noqa: F401 - fixtures

FAR = "beamline.example.org"


def doors(path: Path | None = None, **settings: object) -> list[str]:
    tree = {"reduction": {"poni": "a.poni"}, "frames": {"allowed_roots": ["/data/det"]}}
    found = open_doors(Config.model_validate(tree | settings), path)
    assert all("\n" not in line and "hunter2" not in line for line in found)
    return found


def test_what_comes_without_any_setting_leaves_no_door_open():
    assert doors() == []


@pytest.mark.parametrize(
    ("address", "open_"),
    [
        ("tcp://127.0.0.1:5578", False),
        ("tcp://localhost:5578", False),
        ("tcp://[::1]:5578", False),
        ("ipc:///tmp/qd", False),
        (f"tcp://{FAR}:5578", True),
        ("tcp://10.1.2.3:5578", True),
        ("tcp://0.0.0.0:5578", True),
        ("tcp://127.evil.org:5578", True),
    ],
)
def test_documents_from_another_machine_without_keys(address: str, open_: bool):
    found = doors(source={"address": address})
    assert len(found) == open_
    assert all("source.curve_server_key" in line and "qd-agent keys" in line for line in found)
    keys = {"curve_server_key": "a.key", "curve_secret_key": "a.key_secret"}
    assert doors(source={"address": address, **keys}) == []


def test_metrics_that_anybody_may_read():
    assert doors(metrics={"port": 9464}) == [], "on this machine only, unless told otherwise"
    assert doors(metrics={"port": 9464, "host": "::1"}) == []
    for host in ("0.0.0.0", "::", FAR):
        (line,) = doors(metrics={"port": 9464, "host": host})
        assert line.startswith("metrics.host")
        assert "without a password" in line
    assert doors(metrics={"host": "0.0.0.0"}) == [], "no port, no metrics"


REDIS = [
    ({"url": "redis://127.0.0.1"}, []),
    ({"url": "unix:///run/redis.sock"}, []),
    ({"url": f"rediss://{FAR}", "password_env": "PW"}, []),
    ({"url": f"rediss://{FAR}"}, ["no password is given"]),
    ({"url": f"redis://{FAR}", "password_env": "PW"}, ["travel unencrypted; use rediss://"]),
    ({"url": f"redis://{FAR}"}, ["travel unencrypted", "no password is given"]),
    ({"url": f"rediss://:hunter2@{FAR}"}, []),
    ({"url": f"rediss://{FAR}?password=hunter2"}, []),
    (
        {"url": f"rediss://{FAR}?ssl_cert_reqs=none", "password_env": "PW"},
        ["certificate it is is not checked"],
    ),
    (
        {"url": f"rediss://{FAR}?ssl_check_hostname=false", "password_env": "PW"},
        ["certificate it is is not checked"],
    ),
]


@pytest.mark.parametrize(("settings", "expected"), REDIS, ids=[str(s) for s, _ in REDIS])
def test_redis(settings: dict, expected: list[str]):
    found = doors(redis=settings)
    assert len(found) == len(expected)
    assert all(words in line for words, line in zip(expected, found, strict=True))


def test_tiled():
    assert doors(tiled={"uri": "http://127.0.0.1:8000"}) == []
    assert doors(tiled={"uri": f"https://{FAR}"}) == []
    (line,) = doors(tiled={"uri": f"http://{FAR}:8000"})
    assert "use https:// with tiled.tls_ca_file" in line


def test_a_secret_in_a_configuration_that_only_its_owner_reads_is_fine(tmp_path: Path):
    path = tmp_path / "agent.yaml"
    path.write_text("")
    settings = {"url": f"rediss://:hunter2@{FAR}"}
    path.chmod(0o600)
    assert doors(path, redis=settings) == []
    path.chmod(0o644)
    (line,) = doors(path, redis=settings)
    assert f"use redis.password_file, or chmod 600 {path}" in line
    (line,) = doors(path, tiled={"uri": f"https://{FAR}?api_key=hunter2"})
    assert f"use tiled.api_key_file, or chmod 600 {path}" in line


def test_files_with_secrets_that_everybody_may_read(tmp_path: Path):
    for store, key, settings in (
        ("redis", "password_file", {"url": f"rediss://{FAR}"}),
        ("tiled", "api_key_file", {"uri": f"https://{FAR}"}),
    ):
        secret = tmp_path / key
        secret.write_text("hunter2")
        secret.chmod(0o600)
        assert doors(**{store: {**settings, key: secret}}) == []
        secret.chmod(0o644)
        (line,) = doors(**{store: {**settings, key: secret}})
        assert f"{store}.{key} {secret} may be read" in line


def test_roots_that_are_too_wide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    home = tmp_path / "homes" / "me"
    (home / "data").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    link = tmp_path / "link"
    link.symlink_to("/")
    wide = [
        "/",
        "/etc",
        "/home",
        "/home/anybody",
        str(home),
        str(home.parent),
        str(link),
        "/data/..",
    ]
    for root in wide:
        (line,) = doors(frames={"allowed_roots": [root]})
        assert "name the detectors' own folders" in line
    for root in ("/data", "/home/anybody/data", str(home / "data"), "/var/lib/detector"):
        assert doors(frames={"allowed_roots": [root]}) == []


def test_hosts_of_this_machine_are_known_without_asking_anybody():
    assert all(map(is_local, ["", None, "localhost", "127.0.0.1", "127.8.9.1", "::1", "[::1]"]))
    assert not any(map(is_local, ["0.0.0.0", "::", FAR, "10.0.0.1", "localhost.evil.org"]))


@pytest.mark.parametrize(
    ("bind", "protected", "open_"),
    [
        ("0.0.0.0", "no", True),
        ("0.0.0.0", "yes", False),
        ("127.0.0.1", "no", False),
    ],
)
def test_a_redis_that_lets_strangers_in_is_found_by_trying(
    tmp_path: Path, bind: str, protected: str, open_: bool
):
    port = free_port()
    command = [find_program(), "--port", str(port), "--bind", bind, "--save", ""]
    server = subprocess.Popen(
        [*command, "--protected-mode", protected], cwd=tmp_path, stdout=subprocess.DEVNULL
    )
    try:
        url = f"redis://127.0.0.1:{port}"
        with redis.Redis.from_url(url, retry=_patient()) as client:
            client.ping()
        found = open_redis(RedisConnection(f"redis://:hunter2@127.0.0.1:{port}/0"))
        assert (found is not None) == open_
        if found:
            assert f"listens on {bind}" in found
            assert "requirepass" in found
            assert "hunter2" not in found
    finally:
        server.terminate()
        server.wait()


def _patient():
    from redis.backoff import ConstantBackoff
    from redis.retry import Retry

    return Retry(ConstantBackoff(0.05), 1200)  # a minute


def test_our_own_servers_let_no_stranger_in(redis_server, tiled_server):  # noqa: F811 - fixtures
    assert open_redis(RedisConnection(redis_server.url, redis_server.secret)) is None
    assert not open_tiled(TiledConnection(tiled_server.url, tiled_server.secret))
    assert is_local(redis_server.url.partition("//")[2].partition(":")[0])
    assert is_local(tiled_server.url.partition("//")[2].partition(":")[0])


def test_a_store_that_is_away_is_no_open_door():
    with refusing_port() as port:
        assert open_redis(RedisConnection(f"redis://127.0.0.1:{port}")) is None
        assert not open_tiled(TiledConnection(f"http://127.0.0.1:{port}/api/v1"))
