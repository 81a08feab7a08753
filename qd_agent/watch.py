"""`qd-agent watch`: the page's headline in a terminal, with a sparkline of sizes."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from redis.exceptions import RedisError
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from qd_agent.core.errors import QdError
from qd_agent.dashboard.growth import Growth, TargetTime
from qd_agent.dashboard.headline import Headline, headline_of
from qd_agent.dashboard.records import FrameRow, newest_last
from qd_agent.dashboard.store import RunInfo, RunStore

PAUSE_S = 0.5
KEPT = 500
_BARS = "▁▂▃▄▅▆▇█"
_STYLES = {"fresh": "bold green", "stale": "bold yellow", "old": "bold red", "none": "dim"}


@dataclass(slots=True)
class View:
    """What was read last.

    Attributes:
        run: the run of the newest frame, or None.
        rows: its newest frames, newest last.
        last: where to read on in its stream.
        trouble: why nothing is read now, or ''.
    """

    run: RunInfo | None = None
    rows: Sequence[FrameRow] = ()
    last: str = "0-0"
    trouble: str = ""


def watch(
    open_store: Callable[[], RunStore],
    target: float | None,
    *,
    once: bool,
    pause_s: float = PAUSE_S,
) -> None:
    """Show the newest run until interrupted; plain text, once, where nobody looks at a terminal.

    Args:
        open_store: gives Redis.
        target: wanted diameter, nm, or None.
        once: print one picture and end.
        pause_s: time between two looks.
    """
    store = open_store()
    try:
        view = look(store, View())
        if once or not sys.stdout.isatty():
            console = Console(highlight=False, soft_wrap=False)
            console.print(picture(view, target, time.time(), console.width))
            return
        with Live(refresh_per_second=4, screen=False) as live:
            while True:
                live.update(picture(view, target, time.time(), live.console.width))
                time.sleep(pause_s)
                view = look(store, view)
    except KeyboardInterrupt:
        return
    finally:
        store.close()


def look(store: RunStore, view: View) -> View:
    """Read what is new; what was read stays while Redis is away."""
    try:
        uid = store.current_run()
        if uid is None:
            return View()
        if view.run is None or uid != view.run.uid:
            rows, last = store.all_frames(uid)
            return View(store.run(uid), newest_last(rows)[-KEPT:], last)
        fresh, last = store.frames(uid, view.last)
        known = {row.key: row for row in (*view.rows, *fresh)}
        return View(store.run(uid), newest_last(list(known.values()))[-KEPT:], last)
    except (RedisError, OSError) as error:
        with contextlib.suppress(QdError):  # its server is down: the next look asks again
            store.renew()
        return View(view.run, view.rows, view.last, f"Redis is away ({type(error).__name__})")


def picture(view: View, target: float | None, now: float, width: int) -> RenderableType:
    """Give what is shown; every text from outside is shown as it is, without markup."""
    shown = headline_of(view.rows, target)
    kind, age = shown.freshness(now)
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("diameter", _size(shown))
    table.add_row("state", Text(shown.words, "bold"))
    if shown.reason:
        table.add_row("", _plain(shown.reason))
    table.add_row("growth", _growth(shown.growth))
    if target is not None:
        old = Text("the newest frame is old: no time can be given")
        table.add_row("target", old if kind == "old" else _target(target, shown.target))
    ago = "no frame yet" if age is None else f"{kind}, newest frame {span(age)} ago"
    table.add_row("now?", Text(ago, _STYLES[kind]))
    if view.trouble:
        table.add_row("", Text(view.trouble, "bold red"))
    sparks = sparkline(view.rows, max(10, min(width, 100) - 8))
    return Panel(Group(table, Text(), sparks), title=_title(view.run), title_align="left")


def sparkline(rows: Sequence[FrameRow], width: int) -> Text:
    """Give the newest sizes as bars, one a frame; a dot is a frame without a size."""
    drawn = rows[-width:]
    sizes = [row.diameter for row in drawn if row.diameter is not None]
    if not sizes:
        return Text("no size yet", "dim")
    low, high = min(sizes), max(sizes)
    step = (high - low) / (len(_BARS) - 1) or 1.0
    bars = "".join(
        "·" if row.diameter is None else _BARS[round((row.diameter - low) / step)] for row in drawn
    )
    return Text(f"{bars}\n", "cyan").append(f"{low:.2f} to {high:.2f} nm", "dim")


def span(seconds: float) -> str:
    """Give a span of time in the largest unit that leaves a number above one."""
    for unit, size, limit in (("s", 1, 90), ("min", 60, 5400), ("h", 3600, 129600)):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86400:.0f} days"


def _title(run: RunInfo | None) -> Text:
    if run is None:
        return Text("no run yet")
    return _plain(" · ".join(filter(None, (run.sample or "unnamed", run.plan, run.uid[:8]))))


def _size(shown: Headline) -> Text:
    newest, last = shown.newest, shown.sized
    if newest is not None and newest.diameter is not None:
        text = Text(f"{newest.diameter:.2f} nm", "bold cyan")
        return text.append(f"   90 %: {newest.low:.2f} to {newest.high:.2f}", "not bold")
    if last is None or newest is None:
        return Text("no size", "bold")
    ago = span(newest.time - last.time)
    return Text("no size", "bold").append(f"   last {last.diameter:.2f} nm, {ago} before", "dim")


def _growth(growth: Growth | None) -> Text:
    if growth is None:
        return Text("–")
    basis = f"{growth.low:.2g} to {growth.high:.2g} nm/min (90 %, {growth.frames} frames)"
    if growth.trend in {"growing", "shrinking"}:
        return Text(f"{growth.rate:.2g} nm/min", "bold").append(f"   {basis}", "not bold")
    return Text("none seen").append(f"   {basis}", "dim")


def _target(nm: float, found: TargetTime | None) -> Text:
    text = Text(f"{nm:.2f} nm: ")
    if found is None:
        return text.append("no size now, so no time")
    if found.minutes is None or found.low is None or found.high is None:
        words = {"near": "inside the interval", "far": "further than can be foretold"}
        return text.append(words.get(found.status, found.status))
    bounds = f"{span(found.low * 60)} to {span(found.high * 60)} at the present rate"
    return text.append(f"about {span(found.minutes * 60)}", "bold").append(f"   {bounds}")


def _plain(text: str) -> Text:
    """Keep control characters, which may come from outside, from the terminal."""
    return Text("".join(c if c.isprintable() else "�" for c in text)[:300])
