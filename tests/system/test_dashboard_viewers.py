"""Many viewers, hostile names, tokens, prefixes, and ten thousand frames: the page in a browser.

The store is filled as the agent fills it, by its own sink, so that nothing has to be waited for.
"""

import itertools
import json
import statistics
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from qd_agent.core.prediction import Prediction
from qd_agent.embedded import RunningServer
from qd_agent.sinks import RedisConnection, RedisSettings, open_sink
from tests.helpers.browser import Browser, Page, browser, needs_chromium, page
from tests.helpers.dashboard import headline, looking_at, opened, private, running_dashboard
from tests.helpers.predictions import PROVENANCE, Record, refused, sized
from tests.helpers.predictions import opened as run_opened
from tests.helpers.rig import free_port
from tests.helpers.servers import redis_client, running_redis
from tests.helpers.stage import Stage, frames, stage

__all__ = ["browser", "page", "stage"]
pytestmark = [pytest.mark.system, needs_chromium]

HOSTILE = "<img src=x onerror=\"document.title='hurt'\"><b>bold</b> {{7*7}} ${1} </script>&amp;"


def test_hostile_names_and_reasons_are_shown_as_text(stage: Stage, page: Page):
    stage.begin("hostile", sample_name=HOSTILE)
    flagged = frames("hostile", range(1, 6))
    odd = sized("hostile", 6, frame_time=time.time() - 0.05, flags=(HOSTILE,))
    bad = refused("hostile", 7, HOSTILE, frame_time=time.time())
    stage.publish(*flagged, odd, bad, patterns=True)
    opened(page, stage.address, 7, "hostile")
    assert HOSTILE in page.text("#run-line")
    assert page.text("#reason") == HOSTILE
    page.press("r")
    row = "#runs-body tr:has([data-uid=hostile])"
    page.wait(f"document.querySelector('{row}') !== null")
    assert HOSTILE in page.text(f"{row} td.sample")
    page.press("ArrowLeft")
    page.wait(looking_at(6))
    assert HOSTILE in page.text("#trust")
    hover = page.run(
        "document.getElementById('size-plot').data.map((t) => (t.text || []).join()).join()"
    )
    assert "<img" not in hover
    assert "&lt;img" in hover
    assert page.run("document.querySelectorAll('main img, main b, header b, td b').length") == 0
    assert page.run("document.title") == "Quantum-dot sizing"


def test_a_temperature_has_the_unit_that_is_stated_or_says_that_none_is(
    stage: Stage, page: Page, tmp_path: Path
):
    stage.begin("heated")
    stage.publish(*frames("heated", range(1, 6)))
    opened(page, stage.address, 5, "heated")
    title = "document.querySelector('#size-plot .y2title').textContent"
    page.wait(f"{title} === 'temperature, unit not stated'")
    dashboard = {"temperature_key": "temperature", "temperature_unit": "<b>K</b>"}
    config = {"reduction": {"poni": "detector.poni"}, "dashboard": dashboard}
    file = private(tmp_path, "agent.yaml", json.dumps(config))
    with running_dashboard(file, "--data", stage.folder) as address:
        opened(page, address, 5, "heated")
        page.wait(f"{title} === 'temperature, <b>K</b>'")


def test_two_browsers_see_the_same(stage: Stage, browser: Browser):
    stage.begin("shared", sample_name="shared run")
    stage.publish(*frames("shared", range(1, 30)))
    first, second = browser.page(), browser.page()
    opened(first, stage.address, 29, "shared")
    opened(second, stage.address, 29, "shared")
    stage.publish(*frames("shared", range(30, 41)))
    for one in (first, second):
        one.wait("dashboard.state.rows.length === 40 && dashboard.state.run.uid === 'shared'")
        one.wait("document.getElementById('size-sub').textContent.startsWith('40 frames')")
        one.wait("dashboard.drawn")
    assert headline(first) == headline(second)
    assert first.run("JSON.stringify(dashboard.state.rows)") == second.run(
        "JSON.stringify(dashboard.state.rows)"
    )
    first.close()
    second.close()


def test_many_viewers_ask_no_more_of_redis_than_one_does(stage: Stage):
    """What a viewer sees was read once for all of them; the agent has its Redis to itself."""
    stage.begin("watched")
    stage.publish(*frames("watched", range(1, 6)))
    with redis_client(stage.server) as client, ExitStack() as seats:
        asked: list[tuple[int, float]] = []
        for more, numbers in ((1, range(6, 26)), (29, range(26, 46))):
            for _ in range(more):
                viewer = _events(stage.address, "")
                seats.callback(viewer.close)
                _read_until(viewer, "watched", numbers.start - 1)
            before, begin = _reads(client), time.monotonic()
            for prediction in frames("watched", numbers):
                stage.publish(prediction)
                _read_until(viewer, "", prediction.key.seq_num)
            asked.append((_reads(client) - before, time.monotonic() - begin))
    (alone, _), (crowded, took) = asked
    assert alone >= 20
    assert crowded <= 1.5 * alone + took / 0.25, "and the looks, 0.25 s each, in which nothing came"


def _reads(client: Any) -> int:
    stats = client.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("xrange", "xread"))


def _read_until(viewer: Iterator[tuple[str, str, dict]], uid: str, seq_num: int) -> None:
    """Read a stream of events until it has told of a frame, of a run where one is named."""
    run = ""
    for _, _, told in viewer:
        run = told["run"]["uid"] if told.get("run") else run
        if uid in ("", run) and seq_num in [row[2] for row in told.get("rows", ())]:
            return
    raise AssertionError(f"the stream ended before frame {seq_num}")


def test_a_target_is_kept_and_answered(stage: Stage, page: Page):
    stage.begin("aimed")
    stage.publish(*frames("aimed", range(1, 31), diameter_sd_nm=0.0001))
    opened(page, stage.address, 30, "aimed")
    page.run(
        "(() => { const t = document.getElementById('target'); t.value = '3.2';"
        " t.dispatchEvent(new Event('change')); })()"
    )
    page.wait("document.getElementById('target-label').textContent === 'Time to 3.20 nm'")
    page.open(stage.address)
    page.wait("document.getElementById('target-label').textContent === 'Time to 3.20 nm'")


LIMIT_MS = 50.0
"""Of a redraw, by the page's clock: from its begin until it is laid out and painted."""
ROUND = 20


def test_ten_thousand_frames_stay_smooth(stage: Stage, page: Page):
    """What counts is the best of several rounds, each the median of 20 redraws by the clock.

    Other programs on the machine lengthen what the clock shows in some rounds; a redraw that is
    slow by itself is slow in all of them, as the last round shows.
    """
    stage.begin("long")
    numbers = frames("long", range(1, 11_001))
    for first in range(0, 10_000, 1000):
        stage.publish(*numbers[first : first + 1000])
    opened(page, stage.address, 10_000, "long", width=1400, height=900)
    live = iter(numbers[10_000:])
    _median_redraw_ms(page, stage, live)
    heap = page.heap_mb()
    rounds = [_median_redraw_ms(page, stage, live) for _ in range(4)]
    grown = page.heap_mb() - heap  # of as many frames on any machine
    while min(rounds) >= LIMIT_MS and len(rounds) < 40:
        rounds.append(_median_redraw_ms(page, stage, live))
    drawn = page.run("document.querySelectorAll('#size-plot .scatterlayer .point').length")
    found = f"medians of {ROUND} redraws: {', '.join(f'{ms:.1f}' for ms in rounds)} ms; "
    found += f"heap {heap:.1f} MB and {grown:.2f} MB more"
    sys.stdout.write(found + "\n")
    assert drawn <= 1400, "no more points than the screen can tell apart"
    assert grown < 3.0, "what is drawn anew leaves nothing behind"
    assert min(rounds) < LIMIT_MS, found
    page.run(SLOWER % LIMIT_MS)
    assert _median_redraw_ms(page, stage, live) > LIMIT_MS, "a slow redraw is seen as slow"


SLOWER = """(() => {
  const react = Plotly.react;
  Plotly.react = (...all) => {
    const end = performance.now() + %d;
    while (performance.now() < end);
    return react(...all);
  };
})()"""


def _median_redraw_ms(page: Page, stage: Stage, live: Iterator[Prediction]) -> float:
    """Publish frames one by one, each after the one before is drawn and painted."""
    page.run("dashboard.redraws.splice(0)")
    seen = 0
    for prediction in itertools.islice(live, ROUND):
        stage.publish(prediction)
        last = f"dashboard.state.rows.at(-1).seq_num === {prediction.key.seq_num}"
        seen = page.wait(f"{last} && dashboard.redraws.length > {seen} && dashboard.redraws.length")
    took = page.run("dashboard.redraws")
    assert len(took) >= ROUND
    return statistics.median(took)


def test_a_wrong_token_is_refused_and_the_right_one_is_not_kept_in_the_address(
    stage: Stage, browser: Browser, tmp_path: Path
):
    stage.begin("guarded")
    stage.publish(*frames("guarded", range(1, 6)))
    secret = "a token of twenty-four or so"
    file = tmp_path / "token"
    file.write_text(secret + "\n")
    with running_dashboard("--data", stage.folder, "--token-file", file) as link:
        address = link.partition("?")[0]
        for wrong in ("", "?token=wrong", f"?token={secret[:-1]}"):
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(address + wrong.replace(" ", "%20"))
            caught.value.close()
            assert caught.value.code == 401
        stranger, friend = browser.page(), browser.page()
        stranger.open(address + "?token=wrong")
        assert "needs its token" in stranger.run("document.body.innerText")
        opened(friend, link, 5, "guarded")
        assert friend.run("location.search") == ""
        assert friend.run("document.cookie") == "", "no script can read it"
        stranger.open(address)
        assert "needs its token" in stranger.run("document.body.innerText")
        friend.close()
        stranger.close()


@pytest.mark.parametrize("strips", [True, False])
def test_behind_a_proxy_under_a_prefix(stage: Stage, page: Page, strips: bool):
    stage.begin(f"proxied {strips}")
    stage.publish(*frames(f"proxied {strips}", range(1, 6)))
    with (
        running_dashboard("--data", stage.folder, "--prefix", "/qd/live") as address,
        proxy(address.split("/qd")[0], "/qd/live" if strips else "") as front,
    ):
        opened(page, f"{front}/qd/live/", 5, f"proxied {strips}")
        page.wait("document.querySelector('#size-plot .scatterlayer .point') !== null")


def test_a_viewer_that_was_cut_off_is_told_what_it_missed_and_no_more(stage: Stage):
    stage.begin("cut off")
    stage.publish(*frames("cut off", range(1, 6)))
    number, first = _first_event(stage.address, "", "snapshot")
    while first["run"] is None or first["run"]["uid"] != "cut off" or len(first["rows"]) < 5:
        number, first = _first_event(stage.address, "", "snapshot")
    stage.publish(*frames("cut off", range(6, 9)))
    # The page's service may have read the three in one go or in several.
    missed: list[int] = []
    for kind, _, told in _events(stage.address, number):
        assert kind != "snapshot", "only what was missed"
        missed += [row[2] for row in told["rows"]] if kind == "frames" else []
        if 8 in missed:
            break
    assert missed == [6, 7, 8]
    _, anew = _first_event(stage.address, "00000000-5", "snapshot")
    assert len(anew["rows"]) == 8, "an id of another process gets the whole state"


def _first_event(address: str, last: str, kind: str) -> tuple[str, dict]:
    """Open the stream as a browser would that saw `last`; give the first event of a kind."""
    return next((number, told) for name, number, told in _events(address, last) if name == kind)


def _events(address: str, last: str) -> Generator[tuple[str, str, dict]]:
    """Kind, id and content of every event that a browser gets that saw `last`."""
    asked = urllib.request.Request(f"{address}api/events", headers={"Last-Event-ID": last})
    number = kind = ""
    with urllib.request.urlopen(asked, timeout=60) as stream:
        for raw in stream:
            name, _, value = raw.decode().rstrip().partition(": ")
            if name == "id":
                number = value
            elif name == "event":
                kind = value
            elif name == "data":
                yield kind, number, json.loads(value)


@contextmanager
def proxy(behind: str, strip: str) -> Iterator[str]:
    """A reverse proxy that passes answers on as they come, with or without the prefix."""

    class Passing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.removeprefix(strip) if strip else self.path
            headers = {k: v for k, v in self.headers.items() if k.lower() in {"accept", "cookie"}}
            try:
                with urllib.request.urlopen(
                    urllib.request.Request(behind + path, headers=headers)
                ) as answer:
                    self.send_response(answer.status)
                    for name in ("content-type", "content-security-policy"):
                        self.send_header(name, answer.headers[name])
                    self.end_headers()
                    while part := answer.read1():
                        self.wfile.write(part)
                        self.wfile.flush()
            except OSError:
                return

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Passing)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_redis_that_restarts_is_found_again_without_a_reload(
    stage: Stage, page: Page, tmp_path: Path
):
    """Last in this module's order of trust, with a Redis of its own."""
    folder = tmp_path / "own"
    with running_redis(folder / "redis") as server, running_dashboard("--data", folder) as address:
        _fill(server, "survivor", range(1, 6))
        opened(page, address, 5, "survivor")
        page.run("window.mark = 'never reloaded'")
        server.stop()
        page.wait("dashboard.state.redis && !dashboard.state.redis.up")
        page.wait("document.getElementById('pill-hint').textContent.startsWith('Redis is away')")
        assert page.text("#diameter") != "–", "what is known stays, with its age"
        with running_redis(folder / "redis") as again:
            page.wait("dashboard.state.redis.up")
            _fill(again, "survivor", range(6, 9))
            page.wait("dashboard.state.rows.length === 8")
            assert page.run("window.mark") == "never reloaded"


def test_a_dashboard_that_restarts_is_found_again_without_a_reload(stage: Stage, page: Page):
    port = str(free_port())
    stage.begin("kept")
    stage.publish(*frames("kept", range(1, 6)))
    with running_dashboard("--data", stage.folder, "--port", port) as address:
        opened(page, address, 5, "kept")
        page.run("window.mark = 'never reloaded'")
    hint = "document.getElementById('pill-hint').textContent"
    page.wait(f"{hint}.startsWith('no line to the dashboard')")
    assert page.text("#diameter") != "–", "what is known stays, with its age"
    stage.publish(*frames("kept", range(6, 9)))
    with running_dashboard("--data", stage.folder, "--port", port):
        page.wait("dashboard.state.rows.length === 8", 120)
        page.wait("document.getElementById('size-sub').textContent.startsWith('8 frames')")
        page.wait(f"!{hint}.startsWith('no line')")
        assert page.run("window.mark") == "never reloaded"


def _fill(server: RunningServer, uid: str, numbers: range) -> None:
    sink = open_sink(RedisSettings(), RedisConnection(server.url, server.secret))
    sink.open_run(run_opened(uid), PROVENANCE)
    sink.deliver([Record(p) for p in frames(uid, numbers)])
    sink.close()
