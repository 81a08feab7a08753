"""How fast the nanocrystals grow, and when they reach a target: with bounds, or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import stdtrit

from qd_agent.dashboard.records import FrameRow

WINDOW = 15
"""Sized frames that the rate is taken from: the newest ones."""
FEWEST = 5
"""Sized frames below which nothing is said of a rate."""
FLAT_SHARE, FLAT_NM = 0.02, 0.1
"""A change over the window that is surely below this share of the diameter, or below this many nm,
is a plateau."""
FURTHEST = 20.0
"""A target further ahead than so many windows is not foretold."""

Trend = Literal["growing", "flat", "shrinking", "unclear"]


@dataclass(frozen=True, slots=True)
class Growth:
    """A straight line through the newest sized frames.

    Attributes:
        rate, low, high: nm a minute, with its 90 % interval.
        frames: number of sized frames.
        span_s: time that they cover, s.
        trend: what may be said: 'growing' and 'shrinking' where the interval leaves zero out,
            'flat' where the change over the window is surely small, 'unclear' otherwise.
    """

    rate: float
    low: float
    high: float
    frames: int
    span_s: float
    trend: Trend


@dataclass(frozen=True, slots=True)
class TargetTime:
    """When a target is reached at the present rate.

    Attributes:
        nm: the target.
        status: 'ahead' with minutes; 'reached' (the whole interval is above), 'near' (inside the
            interval), 'not growing', 'far' (further than can be foretold) without.
        minutes, low, high: from the newest sized frame, with bounds; high is None where the rate
            may be too small to ever get there.
    """

    nm: float
    status: Literal["ahead", "near", "reached", "not growing", "far"]
    minutes: float | None = None
    low: float | None = None
    high: float | None = None


def growth_of(rows: Sequence[FrameRow]) -> Growth | None:
    """Fit the newest sized frames; None where they are too few.

    Each frame weighs by its standard deviation. The interval widens where the frames scatter, or
    bend, more than their standard deviations allow (Student's t, as for a fitted scale).

    Args:
        rows: frames of one detector in one run, newest last; those without a size do not count.
    """
    sized = [row for row in rows if row.diameter is not None and row.sd is not None][-WINDOW:]
    if len(sized) < FEWEST:
        return None
    minutes = np.array([row.time - sized[-1].time for row in sized]) / 60.0
    sizes = np.array([row.diameter for row in sized], dtype=np.float64)
    weights = 1.0 / np.maximum([row.sd or 0.0 for row in sized], 1e-3) ** 2
    middle = np.average(minutes, weights=weights)
    spread = float(np.sum(weights * (minutes - middle) ** 2))
    span = float(minutes.max() - minutes.min())
    if span <= 0 or spread <= 0:
        return None
    mean = np.average(sizes, weights=weights)
    rate = float(np.sum(weights * (minutes - middle) * (sizes - mean)) / spread)
    residuals = sizes - mean - rate * (minutes - middle)
    freedom = len(sized) - 2
    scatter = float(np.sum(weights * residuals**2)) / freedom
    half = float(stdtrit(freedom, 0.95)) * np.sqrt(max(1.0, scatter) / spread)
    low, high = rate - float(half), rate + float(half)
    return Growth(rate, low, high, len(sized), span * 60.0, _trend(low, high, span, float(mean)))


def _trend(low: float, high: float, span: float, diameter: float) -> Trend:
    small = max(FLAT_NM, FLAT_SHARE * diameter)
    if max(abs(low), abs(high)) * span < small:
        return "flat"
    if low > 0:
        return "growing"
    return "shrinking" if high < 0 else "unclear"


def time_to_target(growth: Growth | None, newest: FrameRow, target: float) -> TargetTime:
    """Tell when `target` (nm) is reached if growth goes on as now.

    Args:
        growth: the present rate, or None.
        newest: the newest frame with a size.
        target: nm.
    """
    size, low, high = newest.diameter, newest.low, newest.high
    if size is None or low is None or high is None:
        return TargetTime(target, "not growing")
    if low >= target:
        return TargetTime(target, "reached")
    if high >= target:
        return TargetTime(target, "near")
    if growth is None or growth.trend != "growing":
        return TargetTime(target, "not growing")
    minutes = (target - size) / growth.rate
    if minutes * 60.0 > FURTHEST * growth.span_s:
        return TargetTime(target, "far")
    soonest = (target - high) / growth.high
    return TargetTime(target, "ahead", minutes, soonest, (target - low) / growth.low)
