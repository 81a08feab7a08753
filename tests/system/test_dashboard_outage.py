"""A killed agent is seen on the page: the pill turns stale and then old, and fresh again after."""

from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.helpers.browser import Page, browser, needs_chromium, page
from tests.helpers.dashboard import opened, running_dashboard
from tests.helpers.rig import Rig, free_port
from tests.helpers.servers import redis_client, running_redis

__all__ = ["browser", "page"]
pytestmark = [pytest.mark.system, needs_chromium]

WATCH = """(() => {
  window.turns = [];
  const pill = document.getElementById('pill');
  const look = () => {
    const kind = pill.className.split(' ').pop();
    if (turns[turns.length - 1] !== kind) turns.push(kind);
  };
  look();
  new MutationObserver(look).observe(pill, { attributes: true });
  return true;
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
            assert asked(port, "/healthz")[0] == 200
            code, metrics = asked(port, "/metrics")
            assert code == 200
            assert "qd_source_connected 1.0" in metrics
            assert 'qd_sink_up{sink="redis"} 1.0' in metrics
            # In one look: what is fresh now may be stale before the next one.
            page.wait(f"document.getElementById('pill').classList.contains('fresh') && {WATCH}")
            agent.kill()
            agent.wait()
            with pytest.raises(ConnectionRefusedError):
                asked(port, "/healthz")
            # Only from the dead agent's last frame on can nothing make the pill fresh again.
            with redis_client(redis) as client:
                uid = page.run("dashboard.state.run.uid")
                ((entry, _),) = client.xrevrange(f"qd:run:{uid}:predictions", count=1)
            last = f"dashboard.state.rows.some((row) => row.entry === '{entry.decode()}')"
            page.wait(f"{last} && dashboard.drawn")
            page.run("turns.splice(0, turns.lastIndexOf('fresh'))")
            page.wait("turns.includes('stale')", 60)
            page.wait("turns.includes('old')", 120)
            page.wait("document.getElementById('pill-hint').textContent === 'no agent reports'", 60)
            assert page.run("turns") == ["fresh", "stale", "old"]
            assert page.text("#size-label").endswith("ago")
            assert page.text("#state-label") == "The sample was then"
            bad = "[...document.querySelectorAll('#operations .bad dt')].map((d) => d.textContent)"
            page.wait(f"{bad}.includes('Agent')")  # the list comes with a redraw, the pill before
            rig.start_agent(rig.folder / "agent.yaml")
            page.wait("document.getElementById('pill').classList.contains('fresh')", 180)
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
