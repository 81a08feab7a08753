"""What each panel shows, and that it can be read: patterns, distribution, stores, colours, type."""

import json
import math
import time
import urllib.request
from pathlib import Path

import plotly
import pytest

from tests.helpers.browser import Page, browser, needs_chromium, page
from tests.helpers.dashboard import looking_at, opened
from tests.helpers.predictions import Record, pattern, sized
from tests.helpers.stage import Stage, stage

__all__ = ["browser", "page", "stage"]
pytestmark = [pytest.mark.system, needs_chromium]

CHOSEN = "document.getElementById('chosen-line').textContent"


@pytest.fixture
def patterns(stage: Stage, page: Page) -> Page:
    """The page on a run of 20 frames, with a pattern each that can be told from the others."""
    stage.begin("patterns", sample_name="a sample")
    begin = time.time() - 20
    stage.sink.deliver(
        [
            Record(sized("patterns", n, frame_time=begin + n), 10 * pattern(n), 9 * pattern(n))
            for n in range(1, 21)
        ]
    )
    opened(page, stage.address, 20, "patterns", width=1400, height=900)
    page.wait("dashboard.heat.uid === 'patterns' && dashboard.heat.times.length === 20")
    page.wait("dashboard.drawn")
    return page


def test_sizes_have_their_bands_target_and_temperature(patterns: Page):
    page = patterns
    page.click("#target")
    page.send("Input.insertText", text="5.5")
    page.press("Tab")
    page.wait("document.getElementById('target-label').textContent === 'Time to 5.50 nm'")
    drawn, lines = page.run(
        "(() => { const p = document.getElementById('size-plot');"
        " return [Object.fromEntries(p.data.map((t) => [t.name, [[...t.x], [...t.y]]])),"
        " p.layout.shapes]; })()"
    )
    x, y = drawn["flagged"]
    assert y == [4 + n / 100 for n in range(1, 21)]
    assert x == pytest.approx(range(20), abs=1e-3), "s since the first frame"
    there_and_back = [*x, *reversed(x)]
    assert drawn["90 %"] == [there_and_back, [4.2] * 20 + [3.9] * 20]
    upper, lower = [size + 0.05 for size in y], [size - 0.05 for size in reversed(y)]
    assert drawn["68 %"] == [there_and_back, pytest.approx([*upper, *lower])]
    assert drawn["temperature"] == [x, [120.5] * 20]
    assert [(line["y0"], line["y1"]) for line in lines if line["line"]["dash"] == "dash"] == [
        (5.5, 5.5)
    ]


def test_the_cursor_on_the_heat_map_chooses_the_pattern(patterns: Page):
    page = patterns
    page.wait("document.querySelector('#heat-plot .heatmaplayer image') !== null")
    x, y = page.middle("#heat-plot .nsewdrag")
    page.point(x, y)
    page.wait(f"{CHOSEN}.endsWith('pointed at')")
    number = int(page.run(CHOSEN).split(",")[0].removeprefix("frame "))
    assert 9 <= number <= 12, "the middle of 20"
    page.wait(looking_at(number))
    page.point(3, 3)
    page.wait(f"{CHOSEN}.endsWith('the newest')")
    page.wait(looking_at(20))
    page.drag((x, y), (x, y))
    page.wait(f"{CHOSEN} === 'frame {number}, {4 + number / 100:.2f} nm · kept'")
    page.point(3, 3)
    page.wait(looking_at(number))
    assert page.run(CHOSEN).endswith("kept")


def test_the_pattern_has_its_explanation_and_residual_on_both_axes(patterns: Page):
    page = patterns
    page.press("ArrowLeft")
    page.wait(looking_at(19))
    drawn = page.run(
        "Object.fromEntries(document.getElementById('pattern-plot').data.map("
        "(t) => [t.name, [t.x.length, t.y[5], t.yaxis || 'y']]))"
    )
    assert drawn["measured"] == [1251, 700, "y"]
    assert drawn["explained"] == [1251, 630, "y"]
    assert drawn["residual"] == [1251, 70, "y2"]
    kind = "document.getElementById('pattern-plot')._fullLayout.yaxis.type"
    assert page.run(kind) == "linear"
    page.click("#log")
    page.wait(f"{kind} === 'log'")
    page.click("#log")
    page.wait(f"{kind} === 'linear'")


def test_the_distribution_has_the_average_and_the_spread_that_were_predicted(patterns: Page):
    moments = """import('./static/sizes_plot.js').then(({ lognormal }) => {
      let [sum, first, second] = [0, 0, 0];
      for (let x = 0.005; x < 40; x += 0.01) {
        const y = 0.01 * lognormal(5.5, 0.12, x);
        sum += y; first += x * y; second += x * x * y;
      }
      return [sum, first, Math.sqrt(second - first * first) / first];
    })"""
    assert patterns.run(moments) == pytest.approx([1.0, 5.5, 0.12], rel=1e-3)
    bars = "document.getElementById('sizes-plot').data.filter((t) => t.type === 'bar')"
    x, y = patterns.run(f"{bars}.map((t) => [[...t.x], [...t.y]])")[0]
    assert x == [2 + 0.5 * i for i in range(17)]
    assert y == [0.0] * 16 + [1.0]


def test_a_store_that_is_down_and_what_waits_are_seen(stage: Stage, page: Page):
    stage.begin("operated")
    stage.publish(sized("operated", 1, frame_time=time.time()))
    stage.sink.heartbeat(
        {
            **{"state": "running", "host": "here", "version": "1", "source": "tcp://x"},
            **{"source_state": "connected", "open": 70, "queued_documents": 5, "behind_s": 42},
            **{"set_aside": 3, "seen": 90, "sink_redis": "up", "backlog_redis": 0},
            **{"sink_tiled": "down", "backlog_tiled": 12, "lag_tiled_s": 300},
        }
    )
    opened(page, stage.address, 1, "operated")
    # The latency is of this run a second later, with the next look at who is alive.
    page.wait("dashboard.state.latency.frames === 1 && dashboard.drawn")
    page.wait("document.querySelectorAll('#operations > div').length === 8")
    shown = page.run(
        "Object.fromEntries([...document.querySelectorAll('#operations > div')].map("
        "(d) => [d.children[1].textContent, [d.className, d.children[2].textContent]]))"
    )
    assert shown["Tiled"] == ["bad", "down, 12 waiting for 5 min"]
    assert shown["Redis"] == ["ok", "up, has everything"]
    assert shown["Backlog"] == ["warn", "70 frames, 5 documents"]
    assert shown["Lag"] == ["warn", "42 s behind"]
    assert shown["Set aside"] == ["warn", "3 of 90 frames"]
    latency = page.run("dashboard.state.latency")
    # A half is rounded up, as the page does, and not to the even number as Python does.
    told = " · ".join(f"{name} {math.floor(latency[name] + 0.5)}" for name in ("p50", "p95", "p99"))
    assert shown["Latency"][1] == f"{told} ms"


def test_everything_comes_from_this_service_and_the_plots_from_plotlys_wheel(
    stage: Stage, patterns: Page
):
    origin = stage.address.rstrip("/")
    loaded = patterns.run("performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert len(loaded) > 10
    assert [name for name in loaded if not name.startswith(f"{origin}/")] == []
    wheel = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    with urllib.request.urlopen(f"{origin}/vendor/plotly.min.js") as answer:
        assert answer.read() == wheel.read_bytes()


TEXTS = {
    "ink": ("panel", "ground"),
    "dim": ("panel", "ground"),
    **dict.fromkeys(("blue", "orange", "green", "pink", "stale", "old", "fresh"), ("panel",)),
    "on-pill": ("fresh", "stale", "old", "dim", "blue"),
}


def test_every_text_stands_out_in_both_themes(patterns: Page):
    """Contrast of 4.5 to 1, as WCAG 2 asks for at level AA."""
    for _ in ("as it is", "the other"):
        theme = patterns.run("document.documentElement.dataset.theme")
        for text, grounds in TEXTS.items():
            for ground in grounds:
                contrast = _contrast(_colour(patterns, text), _colour(patterns, ground))
                assert contrast >= 4.5, f"{text} on {ground}, {theme}: {contrast:.2f}"
        patterns.press("d")
        patterns.wait(f"document.documentElement.dataset.theme !== '{theme}'")


def _colour(page: Page, name: str) -> tuple[float, ...]:
    found = page.run(f"getComputedStyle(document.documentElement).getPropertyValue('--{name}')")
    return tuple(int(found.strip().lstrip("#")[i : i + 2], 16) / 255 for i in (0, 2, 4))


def _contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    lights = [
        sum(
            share * (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4)
            for share, c in zip((0.2126, 0.7152, 0.0722), colour, strict=True)
        )
        for colour in (one, other)
    ]
    return (max(lights) + 0.05) / (min(lights) + 0.05)


def test_big_numbers_can_be_read_from_three_metres(patterns: Page):
    """On a screen 1.2 m wide a capital of 20 px has 9 mm, 10 minutes of arc: twice the least."""
    page = patterns
    page.resize(1920, 1080)
    page.press("b")
    page.wait("document.querySelector('#size-plot .ytick text').checkVisibility()")
    sizes = """(() => {
      const all = [...document.querySelectorAll('main *, h1, .run-line')];
      const own = (e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
      return all.filter((e) => own(e) && e.checkVisibility())
        .map((e) => [parseFloat(getComputedStyle(e).fontSize), e.textContent]);
    })()"""
    found = page.wait(f"((all) => all.every(([px]) => px >= 20) && all)({sizes})")
    assert len(found) > 25, json.dumps(found)
    largest = max(found)
    assert largest[0] > 200
    assert largest[1] == page.text("#diameter")
    page.press("b")
