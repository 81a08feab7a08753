"""Where the stores are, and that nobody gets to see how to get in."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from qd_agent.core.errors import Mistake
from qd_agent.sinks import (
    RedisConnection,
    RedisSettings,
    TiledConnection,
    TiledSettings,
    open_sink,
    redact,
    resolve_redis,
    resolve_tiled,
)
from qd_agent.sinks.connections import safe_key

PASSWORDS = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=4, max_size=20)


def test_redacting_keeps_what_helps_and_drops_what_harms() -> None:
    assert redact("redis://localhost:6379/0") == "redis://localhost:6379/0"
    assert redact("redis://:pa@ss/w:ord@host:1/0") == "redis://:***@host:1/0"
    assert redact("redis://user:pw@host/0") == "redis://user:***@host/0"
    assert redact("http://h/api/v1?api_key=abc&x=1") == "http://h/api/v1?api_key=***&x=1"
    assert redact("redis://h/0?password=abc") == "redis://h/0?password=***"
    assert redact("redis://h\n/0") == "redis://h?/0"


@given(PASSWORDS)
def test_no_password_survives_redaction(password: str) -> None:
    shown = redact(f"redis://:{password}@host:6379/0")
    assert shown == "redis://:***@host:6379/0"
    connection = RedisConnection(f"redis://:{password}@host:6379/0", password * 3)
    assert repr(connection) == "RedisConnection(shown='redis://:***@host:6379/0')"
    assert password * 3 not in connection.clean(f"error at {password * 3}\nmore")


@given(PASSWORDS.filter(lambda secret: "*" not in secret))
def test_no_form_in_which_an_error_may_quote_a_secret_survives(secret: str) -> None:
    quoted = quote(secret, safe="")
    for connection in (
        RedisConnection("rediss://user@host:6379/0", secret),
        RedisConnection(f"redis://:{quoted}@host:6379/0"),
        TiledConnection("https://host/api/v1", secret),
    ):
        for form in (secret, quoted, repr(secret)[1:-1], json.dumps(secret)[1:-1]):
            assert form not in connection.clean(f">{form}<")


@pytest.mark.parametrize("length", range(9, 17))
def test_the_beginning_of_a_short_key_is_hidden_too(length: int) -> None:
    key = "k3yk3yk3yk3yk3yk3y"[:length]
    cleaned = TiledConnection("http://h/api/v1", key).clean(f"with API key '{key[:8]}...'")
    assert cleaned == "with API key '***...'"


@pytest.mark.parametrize("name", ["ssl_password", "api_key", "PASSWORD", "access_token", "sslkey"])
def test_options_in_a_url_that_name_a_secret_are_hidden(name: str) -> None:
    assert redact(f"rediss://h/0?{name}=hunter2&db=1") == f"rediss://h/0?{name}=***&db=1"


def test_a_message_is_cleaned_of_keys_also_of_their_beginning() -> None:
    connection = TiledConnection("http://h/api/v1", "0123456789abcdef0123")
    text = "\n  with API key '01234567...' and ?api_key=0123456789abcdef0123\nsecond line"
    assert connection.clean(text) == "with API key '***...' and ?api_key=***"
    assert connection.clean("") == "no reason given"


@given(st.text(min_size=1, max_size=128), st.text(min_size=1, max_size=128))
def test_keys_are_harmless_and_different_for_different_uids(one: str, two: str) -> None:
    key = safe_key(one)
    assert set(key) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-=")
    assert not key.startswith(".")
    assert 0 < len(key.replace("=", "%3D")) < 255
    assert (key == safe_key(two)) == (one == two)


def test_an_ordinary_uid_is_its_own_key() -> None:
    uid = "4c8db0d4-cd5a-4a6e-b6fc-70da6a5fb1a4"
    assert safe_key(uid) == uid


def test_without_a_url_the_agent_is_to_start_its_own() -> None:
    assert resolve_redis(RedisSettings()) is None
    assert resolve_tiled(TiledSettings()) is None


def test_a_password_comes_from_the_environment_or_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "password").write_text("from-file\nnot this\n")
    monkeypatch.setenv("QD_PW", "from-env")
    by_env = RedisSettings(url="redis://h", password_env="QD_PW")
    by_file = RedisSettings(url="redis://h", password_file=tmp_path / "password")
    assert resolve_redis(by_env) == RedisConnection("redis://h", "from-env")
    assert resolve_redis(by_file) == RedisConnection("redis://h", "from-file")
    assert resolve_redis(RedisSettings(url="redis://h")) == RedisConnection("redis://h")


def test_a_password_that_is_not_there_is_a_mistake_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("QD_PW", raising=False)
    with pytest.raises(Mistake, match=r"redis\.password_env: .* QD_PW is not set"):
        resolve_redis(RedisSettings(url="redis://h", password_env="QD_PW"))
    with pytest.raises(Mistake, match=r"redis\.password_file: .*No such file"):
        resolve_redis(RedisSettings(url="redis://h", password_file=tmp_path / "none"))
    (tmp_path / "empty").write_text("\nlater")
    with pytest.raises(Mistake, match=r"tiled\.api_key_file: the first line .* is empty"):
        resolve_tiled(TiledSettings(uri="http://h", api_key_file=tmp_path / "empty"))
    with pytest.raises(Mistake, match=r"tiled\.uri http://\[h: Invalid"):
        resolve_tiled(TiledSettings(uri="http://[h"))
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Mistake, match="it is not text"):
        resolve_tiled(TiledSettings(uri="http://h", api_key_file=tmp_path / "binary"))


def test_an_api_key_comes_from_file_uri_or_environment_in_this_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key").write_text("from-file")
    monkeypatch.setenv("TILED_API_KEY", "from-env")
    uri = "https://h:8000/api/v1?api_key=from-uri&x=1"
    in_file = TiledSettings(uri=uri, api_key_file=tmp_path / "key")
    assert resolve_tiled(in_file) == TiledConnection("https://h:8000/api/v1?x=1", "from-file")
    in_uri = TiledSettings(uri=uri)
    assert resolve_tiled(in_uri) == TiledConnection("https://h:8000/api/v1?x=1", "from-uri")
    plain = TiledSettings(uri="https://h:8000/")
    assert resolve_tiled(plain) == TiledConnection("https://h:8000/api/v1", "from-env")
    monkeypatch.delenv("TILED_API_KEY")
    assert resolve_tiled(plain) == TiledConnection("https://h:8000/api/v1", None)


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        (RedisSettings, {"url": "http://:secret@h"}),
        (RedisSettings, {"url": "redis://:secret@h", "passwort": "secret"}),
        (RedisSettings, {"prefix": "a b"}),
        (RedisSettings, {"max_patterns_per_run": -1}),
        (TiledSettings, {"uri": "ftp://secret"}),
        (TiledSettings, {"container": "../up"}),
        (TiledSettings, {"batch_rows": 0}),
    ],
)
def test_a_wrong_setting_is_refused_without_quoting_it(
    settings: type[RedisSettings | TiledSettings], wrong: dict[str, object]
) -> None:
    with pytest.raises(ValidationError) as caught:
        settings.model_validate(wrong)
    assert "secret" not in str(caught.value)


def test_settings_do_not_show_secrets_and_describe_every_field() -> None:
    shown = repr(RedisSettings(url="redis://:secret@h")) + repr(
        TiledSettings(uri="http://h?api_key=secret")
    )
    assert "secret" not in shown
    for settings in (RedisSettings, TiledSettings):
        assert all(field.description for field in settings.model_fields.values())


def test_settings_of_one_store_do_not_open_the_other() -> None:
    with pytest.raises(TypeError, match="different stores"):
        open_sink(RedisSettings(), TiledConnection("http://h"))  # pyright: ignore[reportCallIssue, reportArgumentType] - on purpose


def test_the_door_imports_no_client() -> None:
    code = (
        "import sys, qd_agent.sinks, qd_agent.sinks.checks, qd_agent.sinks.reading, "
        "qd_agent.embedded\n"
        "heavy = {'redis', 'tiled', 'httpx', 'pyarrow', 'pandas', 'dask', 'uvicorn'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
