"""TLS to the stores: real servers behind a wire that encrypts, good and bad certificates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from qd_agent.core.errors import Fatal, Mistake, Unavailable
from qd_agent.core.frame import RunOpened
from qd_agent.sinks import (
    RedisConnection,
    RedisSettings,
    TiledConnection,
    TiledSettings,
    open_sink,
    resolve_redis,
    resolve_tiled,
)
from qd_agent.sinks.checks import check_redis, check_tiled
from tests.helpers.records import provenance
from tests.helpers.servers import redis_client
from tests.helpers.tls import Authority, encrypted


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("other"), "other")


def with_secret(folder: Path, secret: str) -> Path:
    path = folder / "secret"
    path.write_text(secret)
    return path


def redis_at(url: str, server, folder: Path, **files: Path) -> RedisConnection:
    settings = RedisSettings(url=url, password_file=with_secret(folder, server.secret), **files)
    found = resolve_redis(settings)
    assert found is not None
    return found


def tiled_at(uri: str, server, folder: Path, **files: Path) -> TiledConnection:
    settings = TiledSettings(uri=uri, api_key_file=with_secret(folder, server.secret), **files)
    found = resolve_tiled(settings)
    assert found is not None
    return found


def test_redis_is_written_to_over_tls(authority, redis_server, tmp_path: Path):
    with encrypted(redis_server.url, authority) as url:
        assert url.startswith("rediss://")
        connection = redis_at(url, redis_server, tmp_path, tls_ca_file=authority.ca_file)
        sink = open_sink(RedisSettings(prefix="tls"), connection)
        sink.open_run(RunOpened("run-tls", 1.0, {}), provenance())
        sink.close()
        assert "rediss://127.0.0.1" in check_redis(RedisSettings(prefix="tls"), connection)
    with redis_client(redis_server) as client:
        assert client.zscore("tls:runs", "run-tls") is not None


def test_a_user_of_redis_is_named_in_the_url_and_his_password_in_a_file(
    authority, redis_server, tmp_path: Path
):
    with redis_client(redis_server) as client:
        client.acl_setuser("sizer", enabled=True, passwords=["+s3cret-of-sizer"], keys=["*"],
                           commands=["+@all"])  # fmt: skip
    with encrypted(redis_server.url, authority) as url:
        named = url.replace("rediss://", "rediss://sizer@")
        for password, allowed in (("s3cret-of-sizer", True), (redis_server.secret, False)):
            settings = RedisSettings(
                url=named,
                password_file=with_secret(tmp_path, password),
                tls_ca_file=authority.ca_file,
            )
            connection = resolve_redis(settings)
            assert connection is not None
            assert connection.shown == named, "a user is no secret"
            if allowed:
                assert "writable" in check_redis(settings, connection)
                continue
            with pytest.raises(Fatal, match="refuses us") as caught:
                check_redis(settings, connection)
            assert password not in str(caught.value)


def test_tiled_is_written_to_over_tls(authority, tiled_server, tmp_path: Path):
    with encrypted(tiled_server.url, authority) as uri:
        assert uri.startswith("https://")
        connection = tiled_at(uri, tiled_server, tmp_path, tls_ca_file=authority.ca_file)
        settings = TiledSettings(container="over_tls")
        sink = open_sink(settings, connection)
        sink.open_run(RunOpened("run-tls", 1.0, {}), provenance())
        sink.close()
        assert "1 runs under 'over_tls'" in check_tiled(settings, connection)


def reasons(authority, server, tmp_path: Path, tls: Mapping[str, Path], **wire: object) -> str:
    """Give what is said of a server behind the wire that cannot be used."""
    with encrypted(server.url, authority, **wire) as url:
        if url.startswith("rediss"):
            store, settings = redis_at(url, server, tmp_path, **tls), RedisSettings()
        else:
            store, settings = tiled_at(url, server, tmp_path, **tls), TiledSettings()
        with pytest.raises(Unavailable) as caught:
            open_sink(settings, store)  # pyright: ignore[reportCallIssue, reportArgumentType] - one of two
    text = str(caught.value)
    assert "\n" not in text
    assert server.secret not in text
    return text


@pytest.mark.parametrize("which", ["redis", "tiled"])
def test_a_server_that_cannot_be_trusted_is_told_apart_from_one_that_is_away(
    which: str, authority, other, request: pytest.FixtureRequest, tmp_path: Path
):
    server = request.getfixturevalue(f"{which}_server")
    said = reasons(authority, server, tmp_path, {"tls_ca_file": other.ca_file})
    assert f"its certificate is not trusted; give the CA that signed it as {which}.tls_ca" in said
    assert "not trusted" in reasons(authority, server, tmp_path, {}), "by the system neither"
    ours = {"tls_ca_file": authority.ca_file}
    assert "not trusted" in reasons(authority, server, tmp_path, ours, host="elsewhere.org")


@pytest.mark.parametrize("which", ["redis", "tiled"])
def test_a_server_that_asks_for_our_certificate_gets_it(
    which: str, authority, other, request: pytest.FixtureRequest, tmp_path: Path
):
    server = request.getfixturevalue(f"{which}_server")
    ours = {"tls_ca_file": authority.ca_file}
    said = reasons(authority, server, tmp_path, ours, ask_clients=True)
    assert f"it asks for our certificate: {which}.tls_certificate_file" in said
    certificate, key = other.sign("stranger")
    theirs = {**ours, "tls_certificate_file": certificate, "tls_key_file": key}
    assert "does not trust our cert" in reasons(
        authority, server, tmp_path, theirs, ask_clients=True
    )
    certificate, key = authority.sign("agent")
    files = {**ours, "tls_certificate_file": certificate, "tls_key_file": key}
    with encrypted(server.url, authority, ask_clients=True) as url:
        if which == "redis":
            check_redis(RedisSettings(), redis_at(url, server, tmp_path, **files))
        else:
            check_tiled(TiledSettings(), tiled_at(url, server, tmp_path, **files))


@pytest.mark.parametrize("which", ["redis", "tiled"])
def test_a_server_without_tls_is_told_apart(
    which: str, authority, request: pytest.FixtureRequest, tmp_path: Path
):
    server = request.getfixturevalue(f"{which}_server")
    ours = {"tls_ca_file": authority.ca_file}
    if which == "redis":
        url = server.url.replace("redis://", "rediss://")
        store, settings = redis_at(url, server, tmp_path, **ours), RedisSettings()
    else:
        url = server.url.replace("http://", "https://")
        store, settings = tiled_at(url, server, tmp_path, **ours), TiledSettings()
    # Redis waits for the rest of what it takes for a command; nothing tells that from a slow one.
    words = "Timeout" if which == "redis" else "does not speak TLS"
    with pytest.raises(Unavailable, match=words):
        open_sink(settings, store)  # pyright: ignore[reportCallIssue, reportArgumentType] - one of two


def mistake(**settings: object) -> str:
    with pytest.raises(Mistake) as caught:
        resolve_redis(RedisSettings.model_validate(settings))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_files_that_cannot_be_used_are_named_with_their_setting(authority, tmp_path: Path):
    url = "rediss://:hunter2@h"
    absent, garbled = tmp_path / "absent.pem", tmp_path / "garbled.pem"
    garbled.write_text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
    certificate, key = authority.sign("mine")
    _, theirs = authority.sign("theirs")
    _, locked = authority.sign("locked", passphrase=b"geheim")
    good = {"url": url, "tls_certificate_file": certificate}
    said = [
        mistake(url=url, tls_ca_file=absent),
        mistake(url=url, tls_ca_file=garbled),
        mistake(url=url, tls_ca_file=tmp_path),
        mistake(url=url, tls_certificate_file=absent, tls_key_file=key),
        mistake(**good, tls_key_file=absent),
        mistake(**good, tls_key_file=garbled),
        mistake(**good, tls_key_file=theirs),
        mistake(**good, tls_key_file=locked),
        mistake(**good),
        mistake(url=url, tls_key_file=key),
        mistake(url="redis://h", tls_ca_file=authority.ca_file),
    ]
    assert all("redis.tls_" in line for line in said)
    assert not any("hunter2" in line for line in said)
    assert f"{absent} does not exist" in said[0]
    assert str(garbled) in said[1]
    assert "redis.url is not rediss://" in said[-1]


def test_files_for_a_tiled_that_does_not_encrypt_are_a_mistake(authority):
    with pytest.raises(Mistake, match=r"tiled\.uri is not https://"):
        resolve_tiled(TiledSettings(uri="http://h", tls_ca_file=authority.ca_file))


def test_no_key_is_sent_in_the_clear_to_a_tiled_that_calls_itself_http(
    authority, tiled_server, tmp_path: Path
):
    with encrypted(tiled_server.url, authority, forwards_scheme=False) as uri:
        connection = tiled_at(uri, tiled_server, tmp_path, tls_ca_file=authority.ca_file)
        with pytest.raises(Fatal, match="must send X-Forwarded-Proto: https"):
            open_sink(TiledSettings(), connection)
