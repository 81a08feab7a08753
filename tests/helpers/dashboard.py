"""A dashboard as its own process, and pages of it in a browser."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.helpers import nursery
from tests.helpers.browser import Page


@contextmanager
def running_dashboard(*arguments: object) -> Iterator[str]:
    """`qd-agent dashboard` on a free port; gives its address, token included."""
    process = nursery.start(
        "agent",
        ["-m", "qd_agent", "dashboard", "--port", "0", *map(str, arguments)],
        env=os.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("dashboard at "), process.communicate()[1]
        yield line.split()[2]
    finally:
        process.terminate()
        try:
            _, errors = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
    assert "Traceback" not in errors, errors


def opened(page: Page, address: str, frames: int = 1, uid: str = "", **window: float) -> Page:
    """Open the live page, and wait until it has drawn so many frames and a close look at one.

    Where a run is named these are all frames that it has, and the close look is at the newest:
    what the page may still show of the run before does not count.
    """
    page.open(address, **window)  # type: ignore[arg-type]
    page.wait(f"dashboard.state.rows.length >= {frames} && dashboard.redraws.length > 0", 120)
    if uid:
        page.wait(f"dashboard.state.run.uid === {json.dumps(uid)}")
        page.wait(f"dashboard.state.rows.length === {frames}")
        page.wait("dashboard.frame.prediction.key.seq_num === dashboard.state.rows.at(-1).seq_num")
    page.wait("dashboard.frame.prediction.key.run_uid === dashboard.state.run.uid")
    page.wait("dashboard.drawn")
    return page


def looking_at(seq_num: int) -> str:
    """Give the condition that every panel shows a frame: it is here, and the redraw after it over.

    The close look comes a redraw after the frame was chosen, and its panels yet another one later.
    """
    return f"dashboard.frame.prediction.key.seq_num === {seq_num} && dashboard.drawn"


def headline(page: Page) -> dict[str, str]:
    """Give the texts of the top of the page, without what changes with every second."""
    names = ("diameter", "interval", "state", "reason", "rate", "rate-hint", "run-line", "size-sub")
    return {name: page.text(f"#{name}") for name in names}


def private(folder: Path, name: str, text: str) -> Path:
    """Write a small file that a command reads."""
    path = folder / name
    path.write_text(text)
    return path
