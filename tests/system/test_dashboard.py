"""The live page in a real browser, beside a whole demo: synthesis, RunEngine, agent, stores."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.helpers.browser import Browser, Page, find_chromium, running_chromium

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium (apt-get install chromium)"),
]

FRAMES = 40


@dataclass(frozen=True)
class Demo:
    """A demo that has ended and is kept: its page, and what Redis holds."""

    address: str
    store: redis.Redis
    folder: Path
    run_uid: str

    def predictions(self) -> list[dict[str, Any]]:
        found = self.store.xrange(f"qd:run:{self.run_uid}:predictions")
        return [json.loads(fields["prediction"]) for _, fields in found]  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with running_chromium(tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    folder = tmp_path_factory.mktemp("demo")
    options = ["--headless", "--keep", "--frames", str(FRAMES), "--rate", "4"]
    places = ["--json", str(folder / "summary.json"), "--output", str(folder / "out")]
    process = subprocess.Popen(
        [sys.executable, "-m", "qd_agent", "demo", *options, *places],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        address = ""
        for line in process.stdout:
            if line.startswith("live page: "):
                address = line.split()[-1]
            if line.startswith("still running"):
                break
        summary = json.loads((folder / "summary.json").read_text())
        store = redis.Redis.from_url(summary["redis_url"], decode_responses=True)
        (run_folder,) = (folder / "out").glob("run-*")
        yield Demo(address, store, run_folder, summary["run_uids"][0])
        store.close()
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    made = browser.page()
    yield made
    assert made.errors == [], "nothing fails in the page, and its policy forbids nothing it does"
    made.close()


def opened(page: Page, address: str, frames: int = FRAMES, **window: int) -> Page:
    page.open(address, **window)
    page.wait(f"window.dashboard && dashboard.state.rows.length >= {frames}")
    page.wait("dashboard.redraws.length > 0")
    return page


def test_the_headline_says_what_redis_holds(demo: Demo, page: Page):
    opened(page, demo.address)
    (newest,) = [p for p in demo.predictions() if p["key"]["seq_num"] == FRAMES]
    assert page.text("#diameter") == f"{newest['diameter_nm']:.2f}"
    low, high = newest["interval_nm"]
    assert page.text("#interval") == f"90 % sure: {low:.2f} to {high:.2f} nm"
    assert page.text("#state") in {"growing", "plateau", "sized, trend not clear"}
    shown = page.run("dashboard.state.rows.map((row) => [row.seq_num, row.verdict, row.diameter])")
    held = [[p["key"]["seq_num"], p["verdict"], p["diameter_nm"]] for p in demo.predictions()]
    assert sorted(shown) == sorted(_short(held)), "every frame, in all digits that travel"


def _short(rows: list[list[Any]]) -> list[list[Any]]:
    """Numbers as they travel: 13 digits."""
    return [[n, v, None if d is None else float(f"{d:.13g}")] for n, v, d in rows]
