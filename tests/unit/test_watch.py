"""The headline in a terminal."""

from dataclasses import replace

from rich.console import Console

from qd_agent.dashboard.store import RunInfo
from qd_agent.watch import View, picture, sparkline
from tests.unit.dashboard.rows import growing, row, without_size


def printed(view: View, target: float | None = None, now: float = 1.7e9 + 21) -> str:
    console = Console(width=90, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    console.print(picture(view, target, now, 90))
    console.file.close()
    return console.export_text()


def test_it_says_what_the_page_says():
    text = printed(View(RunInfo("run-1", sample="hot injection"), growing(20, 6.0)), target=7.0)
    for words in ("hot injection", "4.90 nm", "growing", "6 nm/min", "about 21 s", "fresh"):
        assert words in text


def test_a_frame_without_a_size_leaves_no_number_standing():
    text = printed(View(RunInfo("run-1"), [*growing(20, 6.0), without_size(25)]), target=7.0)
    assert "refused" in text
    assert "the cell is empty" in text
    assert "last 4.90 nm" in text
    assert "no size now, so no time" in text
    assert "nm/min" not in text


def test_age_and_trouble_are_named():
    view = View(RunInfo("run-1"), growing(20, 6.0), trouble="Redis is away (ConnectionError)")
    text = printed(view, now=1.7e9 + 500)
    assert "old, newest frame 8 min ago" in text
    assert "Redis is away" in text


def test_an_empty_redis_shows_that_nothing_has_come():
    text = printed(View())
    assert "no run yet" in text
    assert "no frame yet" in text
    assert "no size yet" in text


def test_hostile_names_neither_colour_nor_move_the_terminal():
    run = RunInfo("run-1", sample="[red]x[/red]\x1b[31m\x07\r\n</b>")
    text = printed(View(run, [replace(without_size(1), reason="\x1b]0;title\x07[bold]")]))
    assert "[red]x[/red]" in text
    assert "[bold]" in text
    assert not set("\x1b\x07\r") & set(text)


def test_the_sparkline_rises_with_the_sizes_and_fits_the_width():
    text = sparkline([*growing(60, 6.0), without_size(99)], 40).plain.splitlines()[0]
    assert len(text) == 40
    assert (text[0], text[-2], text[-1]) == ("▁", "█", "·")
    assert sparkline([row(1)], 10).plain.startswith("▁"), "one size has no range"
