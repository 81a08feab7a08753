"""The live page in a real browser, beside a whole demo: synthesis, RunEngine, agent, stores.

The pictures in the documentation are made here:
QD_SCREENSHOTS=docs/images python -m pytest tests/system/test_dashboard.py -k pictures
"""

import csv
import io
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from qd_agent.config import load_config
from tests.helpers.browser import Page, browser, needs_chromium, page
from tests.helpers.dashboard import looking_at, opened, private, running_dashboard
from tests.helpers.servers import running_redis

__all__ = ["browser", "page"]
pytestmark = [pytest.mark.system, needs_chromium]

FRAMES = 60


class Demo:
    """A demo with its page, which may still be running, and what Redis holds in the end."""

    def __init__(self, folder: Path):
        self.folder = folder
        options = ["--headless", "--keep", "--frames", str(FRAMES), "--rate", "2.5"]
        places = ["--json", str(folder / "summary.json"), "--output", str(folder / "out")]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "qd_agent", "demo", *options, *places],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.said: list[str] = []
        line = self._read_until("synthesis is running")
        self.address = line.split()[-1]

    def _read_until(self, wanted: str) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line)
            if wanted in line:
                return line
        raise AssertionError("".join(self.said))

    def predictions(self) -> list[dict[str, Any]]:
        """Wait for the end of the run; give every prediction that Redis holds."""
        if not any(line.startswith("still running") for line in self.said):
            self._read_until("still running")
        summary = json.loads((self.folder / "summary.json").read_text())
        self.run_uid = summary["run_uids"][0]
        with redis.Redis.from_url(summary["redis_url"], decode_responses=True) as store:
            found: Any = store.xrange(f"qd:run:{self.run_uid}:predictions")
        return [json.loads(fields["prediction"]) for _, fields in found]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    made = Demo(tmp_path_factory.mktemp("demo"))
    yield made
    made.process.terminate()
    made.process.communicate(timeout=60)


SIZES = {
    "desktop": ({"width": 1400, "height": 900}, ""),
    "phone": ({"width": 390, "height": 844, "scale": 2}, ""),
    "wall": ({"width": 1920, "height": 1080}, "document.getElementById('big').click()"),
}


def test_pictures_of_the_running_synthesis_at_three_sizes(demo: Demo, page: Page, tmp_path: Path):
    folder = Path(os.environ.get("QD_SCREENSHOTS", tmp_path)).resolve()
    opened(page, demo.address, FRAMES * 2 // 3, width=1400, height=900)
    page.run(
        "(() => { const t = document.getElementById('target'); t.value = '6.5';"
        " t.dispatchEvent(new Event('change')); })()"
    )
    page.wait("document.getElementById('target-label').textContent.includes('6.50')")
    page.wait("dashboard.heat.times.length > 5")
    for name, (window, act) in SIZES.items():
        page.resize(**window, mobile=name == "phone")  # type: ignore[arg-type]
        page.run(act or "0")
        page.run("new Promise((done) => setTimeout(done, 700))")  # Plotly fits itself in
        newest = "dashboard.frame.prediction.key.seq_num === dashboard.state.rows.at(-1).seq_num"
        page.wait(f"{newest} && dashboard.drawn")  # each panel of the same frame
        path = folder / f"dashboard-{name}.png"
        page.screenshot(path, whole=name == "desktop")
        assert 10_000 < path.stat().st_size < 300_000
        fits(page, window["width"])  # type: ignore[arg-type]
    page.resize(390, 844, 2, mobile=True)
    fits(page, 390)  # with big numbers, too


def fits(page: Page, width: int) -> None:
    """Wait until nothing is wider than its place: plots are fitted in after the rest."""
    cells = "[...document.querySelectorAll('.cell, .panel')]"
    inside = f"{cells}.every((e) => e.scrollWidth <= e.clientWidth + 1)"
    page.wait(f"{inside} && document.documentElement.scrollWidth <= {width}")


def test_every_panel_is_filled(demo: Demo, page: Page):
    demo.predictions()
    opened(page, demo.address, FRAMES)
    page.wait("dashboard.heat.times.length >= 50")
    drawn = "document.querySelector('#%s .%s') !== null"
    for plot, mark in {
        "size-plot": "scatterlayer .point",
        "pattern-plot": "scatterlayer .js-line",
        "heat-plot": "heatmaplayer image",
        "sizes-plot": "barlayer .point",
    }.items():
        page.wait(drawn % (plot, mark))
    # The agent says that Tiled has everything with the heartbeat after it has.
    stores = "[...document.querySelectorAll('#operations dt')].filter((dt) =>"
    stores += " dt.nextElementSibling.textContent === 'up, has everything')"
    page.wait(f"{stores}.map((dt) => dt.textContent).sort().join() === 'Redis,Tiled'")
    assert page.text("#size-plot .y2title") == "temperature, °C", "as the demo declares it"
    facts = page.run(
        "[...document.querySelectorAll('dl div')].map((d) => [d.children[1].textContent,"
        " d.children[2].textContent])"
    )
    known = dict(facts)
    for name in ("Misfit", "Domain", "Dark", "Saturation", "Monitor", "Q range", "Model"):
        assert known[name], name
    assert "not known" not in " ".join(known.values()), "the agent says all that the page asks for"
    for name in ("Latency", "Agent", "Source", "Backlog", "Lag", "Set aside", "Redis", "Tiled"):
        assert known[name], name
    assert known["Redis"] == known["Tiled"] == "up, has everything"
    assert "nanocrystals make" in page.text("#reason")
    assert page.text("#run-line").startswith("PbS nanocrystals, hot injection · growth")


def test_the_values_shown_are_those_in_redis(demo: Demo, page: Page):
    held = sorted(demo.predictions(), key=lambda p: p["key"]["seq_num"])
    opened(page, demo.address, FRAMES)
    newest = held[-1]
    page.wait(looking_at(newest["key"]["seq_num"]))
    assert page.text("#diameter") == f"{newest['diameter_nm']:.2f}"
    low, high = newest["interval_nm"]
    assert page.text("#interval") == f"90 % sure: {low:.2f} to {high:.2f} nm"
    shown = page.run(
        "dashboard.state.rows.map((r) => [r.seq_num, r.verdict, r.diameter, r.sd, r.low, r.high])"
    )
    kept = [
        [p["key"]["seq_num"], p["verdict"], p["diameter_nm"], p["diameter_sd_nm"]]
        + (p["interval_nm"] or [None, None])
        for p in held
    ]
    for mine, theirs in zip(sorted(shown), kept, strict=True):
        assert mine[:2] == theirs[:2]
        assert mine[2:] == list(map(rounded, theirs[2:])), "in all digits that travel"
    frame = page.run("dashboard.frame.prediction")
    assert frame == newest, "the close look is the whole prediction"


def test_the_keyboard_reaches_every_frame_and_does_what_the_help_says(demo: Demo, page: Page):
    demo.predictions()
    opened(page, demo.address, FRAMES)
    page.press("Home")
    page.wait("document.getElementById('chosen-line').textContent.startsWith('frame 1,')")
    page.wait(looking_at(1))
    assert page.text("#trust").count("no nanocrystals seen") == 1
    page.press("ArrowRight")
    page.wait(looking_at(2))
    page.press("End")
    page.wait(looking_at(FRAMES))
    theme = page.run("document.documentElement.dataset.theme")
    for key, condition in {
        "l": "document.getElementById('log').getAttribute('aria-pressed') === 'true'",
        "b": "document.body.classList.contains('big')",
        "d": f"document.documentElement.dataset.theme !== '{theme}'",
        "?": "!document.getElementById('help').hidden",
        "/": "document.activeElement.id === 'search'",
        "Escape": "document.getElementById('help').hidden",
    }.items():
        page.press(key)
        page.wait(condition)


def test_the_exports_hold_every_frame(demo: Demo):
    held = demo.predictions()
    with urllib.request.urlopen(f"{demo.address}api/export.json?uid={demo.run_uid}") as answer:
        assert "attachment" in answer.headers["content-disposition"]
        assert json.load(answer)["predictions"] == held
    with urllib.request.urlopen(f"{demo.address}api/export.csv?uid={demo.run_uid}") as answer:
        rows = list(csv.DictReader(io.StringIO(answer.read().decode())))
    assert [int(row["seq_num"]) for row in rows] == [p["key"]["seq_num"] for p in held]
    last = held[-1]
    assert float(rows[-1]["diameter_nm"]) == last["diameter_nm"]
    assert float(rows[-1]["interval_low_nm"]) == last["interval_nm"][0]


def test_a_run_that_tiled_alone_holds_is_opened_from_the_list_by_a_click(
    demo: Demo, page: Page, tmp_path: Path
):
    held = sorted(demo.predictions(), key=lambda p: p["key"]["seq_num"])
    tiled = load_config(next(demo.folder.glob("out/*/agent.yaml"))).tiled
    with running_redis(tmp_path / "empty") as empty:
        stores = {
            "redis": {"url": empty.url, "password_file": "redis.secret"},
            "tiled": {"uri": tiled.uri, "api_key_file": str(tiled.api_key_file)},
        }
        private(tmp_path, "redis.secret", empty.secret)
        config = {"reduction": {"poni": "detector.poni"}, **stores}
        with running_dashboard(private(tmp_path, "agent.yaml", json.dumps(config))) as address:
            page.open(address)
            page.wait("window.dashboard && dashboard.state.redis && dashboard.state.run === null")
            opened_from_tiled(page, demo.run_uid, held)


def opened_from_tiled(page: Page, uid: str, held: list[dict[str, Any]]) -> None:
    """Open the run by the list, and see that all of it is there as Redis held it."""
    page.click("#runs-button")
    button = f"[data-uid='{uid}'][data-what=show]"
    page.wait(f'document.querySelector("{button}") !== null')
    assert "in Tiled" in page.text(f"tr:has({button})")
    page.click(button)
    page.wait("dashboard.past !== null")
    page.wait("document.getElementById('run-line').textContent.startsWith('PbS nanocrystals, ')")
    page.wait(f"document.getElementById('size-sub').textContent.startsWith('{FRAMES} frames')")
    assert "from Tiled" in page.text("#notice-text")
    shown = page.run("dashboard.past.rows.map((r) => [r.seq_num, r.verdict, r.diameter])")
    assert shown == [[p["key"]["seq_num"], p["verdict"], rounded(p["diameter_nm"])] for p in held]
    assert page.text("#diameter") == f"{held[-1]['diameter_nm']:.2f}"
    page.wait(f"dashboard.frame && dashboard.frame.prediction.key.seq_num === {FRAMES}")
    frame = page.run("dashboard.frame")
    assert frame["prediction"]["class_probabilities"] == held[-1]["class_probabilities"]
    assert frame["prediction"]["quality"] == held[-1]["quality"]
    assert len(frame["curves"]["q"]) == 1251
    page.wait("document.querySelector('#pattern-plot .js-line') !== null")
    page.wait(f"dashboard.heat.times.length === {FRAMES}")
    csv_at = page.run("document.getElementById('csv').href")
    with urllib.request.urlopen(csv_at) as answer:
        rows = list(csv.DictReader(io.StringIO(answer.read().decode())))
    told = sorted((int(row["seq_num"]), row["verdict"]) for row in rows)
    assert told == [(p["key"]["seq_num"], p["verdict"]) for p in held]


def rounded(number: float | None) -> float | None:
    """A number as it travels to the page."""
    return None if number is None else float(f"{number:.13g}")
