"""A dashboard as its own process, and pages of it in a browser."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.helpers.browser import Page


@contextmanager
def running_dashboard(*arguments: object) -> Iterator[str]:
    """`qd-agent dashboard` on a free port; gives its address, token included."""
    command = [sys.executable, "-m", "qd_agent", "dashboard", "--port", "0"]
    process = subprocess.Popen(
        [*command, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("dashboard at "), process.communicate()[1]
        yield line.split()[2]
    finally:
        process.terminate()
        try:
            _, errors = process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
    assert "Traceback" not in errors, errors


def opened(page: Page, address: str, frames: int = 1, **window: float) -> Page:
    """Open the live page, and wait until it shows so many frames."""
    page.open(address, **window)  # type: ignore[arg-type]
    page.wait(f"window.dashboard && dashboard.state.rows.length >= {frames}", 60)
    page.wait("dashboard.redraws.length > 0 && dashboard.frame !== null")
    return page


def headline(page: Page) -> dict[str, str]:
    """Give the texts of the top of the page, without what changes with every second."""
    names = ("diameter", "interval", "state", "reason", "rate", "rate-hint", "run-line", "size-sub")
    return {name: page.text(f"#{name}") for name in names}


def private(folder: Path, name: str, text: str) -> Path:
    """Write a small file that a command reads."""
    path = folder / name
    path.write_text(text)
    return path
