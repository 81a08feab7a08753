"""What a viewer does by hand, with a real mouse and keyboard: zoom, tab, compare, export."""

import csv
import io
import json
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.browser import Page, browser, needs_chromium, page
from tests.helpers.dashboard import opened
from tests.helpers.predictions import refused, sized
from tests.helpers.servers import redis_client
from tests.helpers.stage import Stage, frames, stage

__all__ = ["browser", "page", "stage"]
pytestmark = [pytest.mark.system, needs_chromium]

DRAWN = "document.getElementById('size-plot').data.filter((t) => t.name === '%s')"
SHOW = "[...document.querySelectorAll('#runs-body [data-what=show]')]"
SIZES_DRAWN = f"{DRAWN % 'size'}.map((t) => t.x.length)"


def showing(page: Page, stage: Stage, uid: str, count: int) -> None:
    """Open the live page on a run."""
    opened(page, stage.address, count, uid, width=1400, height=900)
    assert page.text("#size-sub").startswith(f"{count} frames")


def test_zooming_in_brings_the_frames_that_were_thinned_out(stage: Stage, page: Page):
    stage.begin("zoomed")
    stage.publish(*frames("zoomed", range(1, 2001)))
    showing(page, stage, "zoomed", 2000)
    line, dots = page.run(SIZES_DRAWN)
    assert line < 500
    assert dots == 60, "the newest only"
    place = "document.querySelector('#size-plot .nsewdrag')"
    x, y = page.middle("#size-plot .nsewdrag")
    wide = page.run(f"{place}.getBoundingClientRect().width")
    page.drag((x - 0.05 * wide, y), (x + 0.05 * wide, y))
    page.wait(f"{SIZES_DRAWN}.length === 1")
    (low, high), axis = page.run(
        "(() => { const p = document.getElementById('size-plot');"
        " return [p.layout.xaxis.range, p._fullLayout.xaxis.title.text]; })()"
    )
    assert axis.endswith(", min")
    inside = page.run(
        "dashboard.state.rows.map((r, i, all) => (r.time - all[0].time) / 60)"
        f".filter((x) => x >= {low} && x <= {high}).length"
    )
    assert 150 < inside < 250
    assert page.run(SIZES_DRAWN) == [inside], "each frame of the stretch, as a dot"
    # If the machine stands still meanwhile these are two single clicks, which zoom nothing.
    deadline = time.monotonic() + 60
    while page.run(f"{SIZES_DRAWN}.length") != 2:
        assert time.monotonic() < deadline, "a double click shows the whole run again"
        page.double_click(x, y)


def test_a_frame_without_a_size_says_why_when_pointed_at(stage: Stage, page: Page):
    stage.begin("pointed")
    sizes = frames("pointed", range(1, 4))
    why = refused("pointed", 4, "the cell <b>is</b> empty", frame_time=time.time())
    stage.publish(*sizes, why)
    showing(page, stage, "pointed", 4)
    ring = "#size-plot .scatterlayer .point"
    count = page.run(f"document.querySelectorAll('{ring}').length")
    texts = set[str]()
    for place in range(count):
        page.point(*page.middle(ring, place))
        page.wait("document.querySelector('#size-plot .hovertext') !== null")
        texts.add(page.text("#size-plot .hovertext"))
        page.point(3, 3)
        page.wait("document.querySelector('#size-plot .hovertext') === null")
    (told,) = [text for text in texts if text.startswith("frame 4,")]
    assert "set aside" in told
    assert "the cell <b>is</b> empty" in told


def test_tab_reaches_every_control_and_shows_where_it_is(stage: Stage, page: Page):
    stage.begin("tabbed")
    stage.publish(*frames("tabbed", range(1, 6)))
    showing(page, stage, "tabbed", 5)
    page.press("?")
    page.press("/")
    page.wait("document.querySelector('#runs-body button[data-uid=tabbed]') !== null")
    page.press("Escape")
    page.press("/")
    page.run("document.activeElement.blur()")
    controls = (
        "[...document.querySelectorAll('button, input, select, a[href], [tabindex=\"0\"]')]"
        ".filter((e) => e.checkVisibility() && !e.disabled)"
    )
    name = (
        "(e) => [e.tagName, e.id || e.dataset.what || e.className, e.dataset.uid || ''].join(' ')"
    )
    page.wait(f"{controls}.map({name}).includes('BUTTON compare tabbed')")
    wanted = set(page.run(f"{controls}.map({name})"))
    assert {"INPUT target ", "A csv ", "BUTTON png ", "BUTTON before "} <= wanted
    seen: set[str] = set()
    for _ in range(len(wanted) + 3):
        page.press("Tab")
        found = page.run(
            f"(() => {{ const e = document.activeElement, s = getComputedStyle(e);"
            f" const r = e.getBoundingClientRect(); return [({name})(e), s.outlineStyle,"
            " parseFloat(s.outlineWidth), r.width > 0 && r.bottom > 0 && r.top < innerHeight]; })()"
        )
        who, style, width, inside = found
        if who not in wanted:
            continue
        seen.add(who)
        assert (style, inside) == ("solid", True), who
        assert width >= 2, who
    assert seen == wanted


def test_two_runs_are_compared_each_from_its_own_start_and_the_live_one_comes_back(
    stage: Stage, page: Page
):
    earlier = frames("earlier", range(1, 13))
    stage.begin("earlier", sample_name="sample earlier")
    stage.publish(*earlier)
    stage.begin("later", sample_name="sample later")
    stage.publish(*frames("later", range(1, 21)))
    showing(page, stage, "later", 20)
    page.press("/")
    page.send("Input.insertText", text="EARLIER sample")
    # Before the search is heeded the list may have one row too: that of a run that came first.
    page.wait("document.getElementById('search').value === 'EARLIER sample' && dashboard.drawn")
    page.wait(f"{SHOW}.map((b) => b.dataset.uid).join() === 'earlier'")
    page.click("#runs-body [data-what=compare]")
    page.wait(f"{DRAWN % 'other run'}.length === 1")
    (x, y) = page.run(f"{DRAWN % 'other run'}.map((t) => [[...t.x], [...t.y]])")[0]
    assert y == [p.diameter_nm for p in earlier]
    assert x == pytest.approx([0.1 * n for n in range(12)], abs=1e-3), "s from its own first frame"
    assert "green: sample earlier of " in page.text("#size-sub")
    assert len(page.run(SIZES_DRAWN)) == 1, "the run that is shown stays"
    assert page.run("document.querySelector('[data-what=compare]').ariaPressed") == "true"
    page.click("#runs-body [data-what=compare]")
    page.wait(f"{DRAWN % 'other run'}.length === 0")
    page.click("#runs-body [data-what=show]")
    page.wait("document.getElementById('run-line').textContent.startsWith('sample earlier')")
    page.wait("document.getElementById('size-sub').textContent.startsWith('12 frames')")
    assert "from Redis" in page.text("#notice-text")
    page.click("#notice-button")
    page.wait("document.getElementById('run-line').textContent.startsWith('sample later')")


def test_what_is_exported_is_what_redis_holds(stage: Stage, page: Page, tmp_path: Path):
    uid = "exported"
    stage.begin(uid, sample_name="=cmd()")
    odd = sized(uid, 6, frame_time=time.time(), flags=("dark_stale", "saturated_pixels"))
    bad = refused(uid, 7, '=HYPERLINK("x"), so\nthere', frame_time=time.time() + 0.1)
    stage.publish(*frames(uid, range(1, 6)), odd, bad)
    showing(page, stage, uid, 7)
    with redis_client(stage.server) as client:
        entries: Any = client.xrange(f"qd:run:{uid}:predictions")
    held: list[dict[str, Any]] = [json.loads(fields[b"prediction"]) for _, fields in entries]
    page.save_into(tmp_path)
    page.click("#runs-button")
    page.wait("document.getElementById('csv').checkVisibility()")
    page.click("#json")
    assert json.loads(saved(tmp_path, f"qd-{uid}.json"))["predictions"] == held
    page.click("#csv")
    text = saved(tmp_path, f"qd-{uid}.csv").decode()
    for row, prediction in zip(csv.DictReader(io.StringIO(text, newline="")), held, strict=True):
        assert {name: row[name] for name in CELLS} == {
            name: written(find(prediction)) for name, find in CELLS.items()
        }
    page.click("#png")
    picture = saved(tmp_path, f"size-{uid}.png")
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", picture[16:24]) == (2800, 1400)
    assert picture.endswith(b"IEND\xaeB`\x82"), "whole"
    assert len(picture) > 20_000, "not an empty one"


CELLS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "seq_num": lambda p: p["key"]["seq_num"],
    "index": lambda p: p["key"]["index"],
    "stream": lambda p: p["key"]["stream"],
    "data_key": lambda p: p["key"]["data_key"],
    "frame_time": lambda p: p["frame_time"],
    "verdict": lambda p: p["verdict"],
    "diameter_nm": lambda p: p["diameter_nm"],
    "diameter_sd_nm": lambda p: p["diameter_sd_nm"],
    "interval_low_nm": lambda p: (p["interval_nm"] or [None])[0],
    "interval_high_nm": lambda p: (p["interval_nm"] or [None])[-1],
    "diameter_volume_nm": lambda p: p["diameter_volume_nm"],
    "dispersion": lambda p: p["dispersion"],
    "nanocrystal_fraction": lambda p: p["nanocrystal_fraction"],
    "class_nm": lambda p: p["class_nm"],
    "misfit": lambda p: p["misfit"],
    "flags": lambda p: " ".join(p["flags"]),
    "reason": lambda p: ("'" if p["reason"].startswith("=") else "") + p["reason"],
    "readings": lambda p: json.dumps(p["readings"]),
    "config_hash": lambda p: p["provenance"]["config_hash"],
}


def written(value: object) -> str:
    """A cell as CSV has it: numbers in all their digits, nothing for what is not there."""
    return "" if value is None else str(value)


def saved(folder: Path, name: str, patience: float = 60.0) -> bytes:
    """Wait until the browser has saved a file whole; it has another name until then."""
    deadline = time.monotonic() + patience
    while not (folder / name).is_file():
        found = sorted(path.name for path in folder.iterdir())
        assert time.monotonic() < deadline, f"no {name}, but {found}"
        time.sleep(0.02)
    return (folder / name).read_bytes()
