"""A killed agent is seen on the page: the pill turns stale and then old, and fresh again after."""

from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.helpers.browser import Page, browser, needs_chromium, page
from tests.helpers.dashboard import opened, running_dashboard
from tests.helpers.rig import Rig, free_port
from tests.helpers.servers import running_redis

__all__ = ["browser", "page"]
pytestmark = [pytest.mark.system, needs_chromium]

WATCH_THE_PILL = """(() => {
  window.turns = [];
  const pill = document.getElementById('pill');
  const look = () => {
    const kind = pill.className.split(' ').pop();
    if (turns[turns.length - 1] !== kind) turns.push(kind);
  };
  look();
  new MutationObserver(look).observe(pill, { attributes: true });
})()"""


def test_a_killed_agent_turns_the_pill_stale_then_old_and_its_return_fresh(
    rig: Rig, page: Page, tmp_path: Path
):
    with running_redis(tmp_path / "stores" / "redis") as redis:
        (tmp_path / "redis.secret").write_text(redis.secret)
        store = {"url": redis.url, "password_file": "redis.secret"}
        # A frame now and then for longer than the test lasts, so that none is missing at the end.
        growth = ("growth", "--frames", "400", "--rate", "1", "--darks", "1", "--binning", "4")
        port = free_port()
        agent, _ = rig.start_both(*growth, redis=store, metrics={"port": port})
        with running_dashboard("--data", tmp_path / "stores") as address:
            opened(page, address, 4)
            page.wait("document.getElementById('pill').classList.contains('fresh')")
            page.run(WATCH_THE_PILL)
            assert asked(port, "/healthz")[0] == 200
            code, metrics = asked(port, "/metrics")
            assert code == 200
            assert "qd_source_connected 1.0" in metrics
            assert 'qd_sink_up{sink="redis"} 1.0' in metrics
            agent.kill()
            agent.wait()
            with pytest.raises(ConnectionRefusedError):
                asked(port, "/healthz")
            page.wait("turns.includes('stale')", 60)
            page.wait("turns.includes('old')", 120)
            page.wait("document.getElementById('pill-hint').textContent === 'no agent reports'", 60)
            assert page.run("turns") == ["fresh", "stale", "old"]
            assert page.text("#size-label").endswith("ago")
            assert page.text("#state-label") == "The sample was then"
            shown = page.run(
                "[...document.querySelectorAll('#operations .bad dt')].map((d) => d.textContent)"
            )
            assert "Agent" in shown
            rig.start_agent(rig.folder / "agent.yaml")
            page.wait("document.getElementById('pill').classList.contains('fresh')", 90)
            page.wait("document.querySelectorAll('#operations .bad').length === 0", 60)
            assert asked(port, "/healthz")[0] == 200


def asked(port: int, path: str) -> tuple[int, str]:
    """Ask the agent as Prometheus does."""
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()
