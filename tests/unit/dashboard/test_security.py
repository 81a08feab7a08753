"""Who is let in, and what the page is bound to."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from qd_agent.core.errors import Mistake
from qd_agent.dashboard.security import Guard, Token, choose_token
from qd_agent.dashboard.settings import DashboardSettings

TOKEN = Token("correct horse battery staple")


class Visitor:
    """A browser without a page: asks the guard, keeps cookies."""

    def __init__(self, guard: Guard):
        transport = httpx.ASGITransport(guard)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")

    def get(self, path: str, **options: Any) -> httpx.Response:
        return asyncio.run(self._client.get(path, **options))


def visitor(token: Token | None = TOKEN, hosts: tuple[str, ...] = (), prefix: str = "") -> Visitor:
    async def inside(request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"inside {request.url.path}")

    app = Starlette(routes=[Route("/{rest:path}", inside)])
    return Visitor(Guard(app, token, hosts, prefix))


def test_the_token_opens_once_and_then_a_cookie_does():
    browser = visitor()
    assert browser.get("/").status_code == 401
    first = browser.get("/", params={"token": TOKEN.value})
    assert (first.status_code, first.headers["location"]) == (303, "./")
    cookie = first.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert TOKEN.value not in first.headers["set-cookie"]
    assert browser.get("/api/snapshot").text == "inside /api/snapshot"


@pytest.mark.parametrize(
    "offered", ["", "wrong", TOKEN.value[:-1], TOKEN.value + "x", "é", "\x00", TOKEN.cookie_value]
)
def test_a_wrong_token_is_refused_wherever_it_stands(offered: str):
    browser = visitor()
    assert browser.get("/", params={"token": offered}).status_code == 401
    headers = {"authorization": b"Bearer " + offered.encode()}
    assert browser.get("/", headers=headers).status_code == 401
    cookie = {"cookie": TOKEN.cookie_name.encode() + b"=" + offered.encode()}
    if offered != TOKEN.cookie_value:
        assert browser.get("/", headers=cookie).status_code == 401


def test_a_script_may_show_the_token_in_a_header():
    browser = visitor()
    headers = {"authorization": f"Bearer {TOKEN.value}"}
    assert browser.get("/api/run", headers=headers).status_code == 200


def test_the_cookie_is_for_encrypted_lines_only_where_the_first_was_one():
    browser = visitor()
    headers = {"x-forwarded-proto": "https"}
    found = browser.get("/", params={"token": TOKEN.value}, headers=headers)
    assert "secure" in found.headers["set-cookie"].lower()


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[::1", "a b"])
def test_without_a_token_another_name_is_refused(host: str):
    browser = visitor(token=None)
    assert browser.get("/", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("host", ["127.0.0.1:8060", "localhost", "LOCALHOST:1", "[::1]:8060"])
def test_loopback_is_let_in_by_its_names(host: str):
    browser = visitor(token=None)
    assert browser.get("/", headers={"host": host}).status_code == 200


def test_a_prefix_is_taken_off_and_its_folder_is_named():
    browser = visitor(token=None, prefix="/qd")
    assert browser.get("/qd/api/run").text == "inside /api/run"
    assert browser.get("/api/run").text == "inside /api/run", "a proxy may have taken it off"
    assert browser.get("/qd").headers["location"] == "/qd/"
    assert browser.get("/qdx").text == "inside /qdx"


def test_every_answer_carries_the_policy():
    browser = visitor()
    for answer in (browser.get("/"), browser.get("/", params={"token": TOKEN.value})):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"


def test_loopback_needs_no_token_and_everything_else_gets_one(tmp_path: Path):
    assert choose_token(DashboardSettings()) is None
    assert choose_token(DashboardSettings(host="::1")) is None
    made = choose_token(DashboardSettings(host="0.0.0.0"))
    assert made is not None
    assert len(made.value) >= 32
    assert made != choose_token(DashboardSettings(host="0.0.0.0")), "another one each time"
    assert choose_token(DashboardSettings(allowed_hosts=("beamline.example",))) is not None
    assert made.value not in repr(made)


@pytest.mark.parametrize("text", ["", "\n", "short", "   tooshort   \n and more lines of text"])
def test_a_token_that_keeps_nobody_out_is_named(tmp_path: Path, text: str):
    path = tmp_path / "token"
    path.write_text(text)
    with pytest.raises(Mistake, match="shorter than 16"):
        choose_token(DashboardSettings(token_file=path))


def test_a_missing_token_file_is_named_without_what_it_holds(tmp_path: Path):
    with pytest.raises(Mistake, match="No such file"):
        choose_token(DashboardSettings(token_file=tmp_path / "absent"))
    secret = tmp_path / "binary"
    secret.write_bytes(b"\xff\xfe secret")
    with pytest.raises(Mistake, match="not text"):
        choose_token(DashboardSettings(token_file=secret))
