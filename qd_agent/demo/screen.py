"""What the demo shows while frames arrive: the truth beside each size."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from qd_agent.core.prediction import Verdict
from qd_agent.demo.summary import Arrival, Frame, Truth


class Screen(Protocol):
    """Shows arrivals."""

    def __enter__(self) -> Screen:
        """Begin."""
        ...

    def __exit__(self, *_: object) -> None:
        """End."""
        ...

    def say(self, text: str) -> None:
        """Tell what is going on."""
        ...

    def show(self, arrival: Arrival, truths: Mapping[Frame, Truth]) -> None:
        """Show one more prediction."""
        ...


def _cells(arrival: Arrival, truths: Mapping[Frame, Truth]) -> tuple[str, str, str, str]:
    """Give frame, truth, answer and latency as text."""
    prediction, truth = arrival.prediction, truths.get(arrival.frame)
    known = "?" if truth is None else "no nanocrystals"
    if truth is not None and truth.diameter_nm is not None:
        known = f"{truth.diameter_nm:.2f} nm, share {truth.nanocrystal_fraction:.0%}"
    if prediction.verdict is Verdict.SIZED and prediction.interval_nm is not None:
        low, high = prediction.interval_nm
        answer = f"{prediction.diameter_nm:.2f} nm ({low:.2f} to {high:.2f})"
    else:
        answer = prediction.verdict.value
    delay = f"{(arrival.stored - prediction.frame_time) * 1e3:.0f} ms"
    return str(prediction.key.seq_num), known, answer, delay


class PlainScreen:
    """One line a frame, for logs and pipes."""

    def __enter__(self) -> PlainScreen:
        return self

    def __exit__(self, *_: object) -> None: ...

    def say(self, text: str) -> None:
        """Print one line."""
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def show(self, arrival: Arrival, truths: Mapping[Frame, Truth]) -> None:
        """Print one line."""
        number, known, answer, delay = _cells(arrival, truths)
        self.say(f"frame {number:>4}   true {known:<24} predicted {answer:<28} after {delay}")


class LiveScreen:
    """A progress bar over the latest frames, redrawn in place."""

    ROWS = 14

    def __init__(self, frames: int) -> None:
        self._console = Console()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self._task = self._progress.add_task("starting", total=frames)
        self._rows: list[tuple[str, str, str, str]] = []
        self._live = Live(console=self._console, refresh_per_second=8)

    def __enter__(self) -> LiveScreen:
        self._live.__enter__()
        self._draw()
        return self

    def __exit__(self, *_: object) -> None:
        self._draw()
        self._live.__exit__(None, None, None)

    def say(self, text: str) -> None:
        """Show what is going on beside the bar."""
        self._progress.update(self._task, description=text)
        self._draw()

    def show(self, arrival: Arrival, truths: Mapping[Frame, Truth]) -> None:
        """Add a row."""
        self._rows.append(_cells(arrival, truths))
        self._progress.advance(self._task)
        self._draw()

    def _draw(self) -> None:
        table = Table("frame", "true", "predicted (90 %)", "after", expand=False)
        for row in self._rows[-self.ROWS :]:
            table.add_row(*row)
        self._live.update(Group(self._progress, table))


def open_screen(frames: int, *, headless: bool) -> Screen:
    """Give the live table on a terminal, plain lines elsewhere or when asked for."""
    if headless or not sys.stdout.isatty():
        return PlainScreen()
    return LiveScreen(frames)
