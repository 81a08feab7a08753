"""The one answer on top of the page: how big, how sure, how fast, and whether it still holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from qd_agent.core.prediction import Verdict
from qd_agent.dashboard.growth import FEWEST, Growth, TargetTime, growth_of, time_to_target
from qd_agent.dashboard.records import FrameRow

YOUNG_SHARE = 0.05
"""Nanocrystals that came up in this run and scatter less than this are still nucleating."""
STALE_PERIODS, OLD_PERIODS = 4.0, 20.0
STALE_S, OLD_S = 5.0, 30.0
"""A number is stale after so many of the usual times between frames, at least so many seconds."""
_RECENT = 60

State = Literal[
    "waiting",
    "no_nanocrystals",
    "nucleating",
    "growing",
    "plateau",
    "shrinking",
    "sized",
    "refused",
]
Freshness = Literal["fresh", "stale", "old", "none"]

_WORDS: dict[State, str] = {
    "waiting": "waiting for frames",
    "no_nanocrystals": "no nanocrystals",
    "nucleating": "nucleating",
    "growing": "growing",
    "plateau": "plateau",
    "shrinking": "shrinking",
    "sized": "sized, trend not clear",
    "refused": "refused",
}


@dataclass(frozen=True, slots=True)
class Headline:
    """What a glance at the screen gives.

    Attributes:
        state, words: what the sample does, for programs and for people.
        reason: why there is no size, or ''.
        newest: the newest frame, or None.
        sized: the newest frame with a size; another one than `newest` where that has none.
        growth: the present rate, or None where the newest frame has no size, or too few have.
        target: about the target, where there is one and a size.
        stale_after_s, old_after_s: age of the newest frame from which it counts as such.
    """

    state: State
    words: str
    reason: str
    newest: FrameRow | None
    sized: FrameRow | None
    growth: Growth | None
    target: TargetTime | None
    stale_after_s: float
    old_after_s: float

    def as_json(self) -> dict[str, object]:
        """Give plain values."""
        return asdict(self)

    def freshness(self, now: float) -> tuple[Freshness, float | None]:
        """Tell how far the newest frame's age (s) lets the number count.

        Args:
            now: UTC epoch s.
        """
        if self.newest is None:
            return "none", None
        age = max(0.0, now - self.newest.time)
        if age <= self.stale_after_s:
            return "fresh", age
        return ("stale" if age <= self.old_after_s else "old"), age


def headline_of(rows: Sequence[FrameRow], target: float | None = None) -> Headline:
    """Sum a run up.

    Args:
        rows: its frames, newest last.
        target: wanted diameter, nm, or None.
    """
    newest = rows[-1] if rows else None
    mine = [] if newest is None else [row for row in rows if row.data_key == newest.data_key]
    sized = next((row for row in reversed(mine) if row.sized), None)
    growth = growth_of(mine) if newest is not None and newest.sized else None
    state = _state(mine, growth)
    stale, old = _patience(mine)
    about = None
    if target is not None and newest is not None and newest.sized:
        about = time_to_target(growth, newest, target)
    return Headline(
        state=state,
        words=_WORDS[state],
        reason="" if newest is None else newest.reason,
        newest=newest,
        sized=sized,
        growth=growth,
        target=about,
        stale_after_s=stale,
        old_after_s=old,
    )


def _state(rows: Sequence[FrameRow], growth: Growth | None) -> State:
    if not rows:
        return "waiting"
    newest = rows[-1]
    if newest.verdict == Verdict.NO_NANOCRYSTALS.value:
        return "no_nanocrystals"
    if not newest.sized:
        return "refused"
    if _nucleating(rows):
        return "nucleating"
    if growth is None:
        return "sized"
    trends: dict[str, State] = {"growing": "growing", "flat": "plateau", "shrinking": "shrinking"}
    return trends.get(growth.trend, "sized")


def _nucleating(rows: Sequence[FrameRow]) -> bool:
    """Tell whether nanocrystals have come up in this very run and are still few."""
    since = 0
    for row in reversed(rows):
        if row.verdict == Verdict.NO_NANOCRYSTALS.value:
            share = rows[-1].share
            return since < FEWEST or (share is not None and share < YOUNG_SHARE)
        since += row.sized
    return False


def _patience(rows: Sequence[FrameRow]) -> tuple[float, float]:
    """Give the ages, s, at which a number counts as stale and as old, by the usual period."""
    times = [row.time for row in rows[-_RECENT:]]
    period = float(np.median(np.diff(times))) if len(times) > 2 else 0.0
    return max(STALE_S, STALE_PERIODS * period), max(OLD_S, OLD_PERIODS * period)
