"""Figures where people look rather than read: patterns with their explanation, size against time.

matplotlib is imported when a figure is drawn; it comes with the extra `plot`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qd_agent.core.errors import Fatal
from qd_agent.core.pattern import PUBLISHED_GRID
from qd_agent.core.prediction import Estimate, Sized, Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from qd_agent.inference.refinement import Refinement

# Okabe and Ito's palette, readable with every common colour vision.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"


@dataclass(frozen=True, slots=True)
class Moment:
    """One frame of a synthesis as the growth figure shows it; `seconds` since the first."""

    seconds: float
    estimate: Estimate
    true_diameter_nm: float | None


def _new_figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - only where a figure is drawn
    except ImportError as error:
        raise Fatal("figures need matplotlib: pip install 'qd-agent[plot]'") from error
    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: Figure, path: Path) -> None:
    try:
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise Fatal(f"the figure {path} cannot be written: {error}") from error


def headline(estimate: Estimate) -> str:
    """Say the answer in one short line."""
    if estimate.verdict is not Verdict.SIZED or estimate.interval_nm is None:
        return f"{estimate.verdict.value}: {estimate.reason}"
    low, high = estimate.interval_nm
    text = f"{estimate.diameter_nm:.2f} nm (90 %: {low:.2f} to {high:.2f})"
    if estimate.dispersion is not None:
        text += f", dispersion {estimate.dispersion:.0%}"
    if estimate.nanocrystal_fraction is not None:
        text += f", share {estimate.nanocrystal_fraction:.0%}"
    return text


def draw_patterns(answers: Sequence[tuple[str, Sized]], path: Path) -> None:
    """Draw each pattern with its explaining Debye pattern, and the residual under it.

    Args:
        answers: name and answer of each pattern; at least one.
        path: image to write; its suffix decides the format.

    Raises:
        Fatal: matplotlib is missing or the image cannot be written.
    """
    figure = _new_figure(10, 4.2 * len(answers))
    axes = figure.subplots(
        2 * len(answers), 1, squeeze=False, height_ratios=[3, 1] * len(answers), sharex=True
    )[:, 0]
    for (name, sized), upper, lower in zip(answers, axes[::2], axes[1::2], strict=True):
        _draw_pattern(upper, lower, sized)
        shown = name.encode("utf-8", "replace").decode()
        title = f"{shown}\n{headline(sized.estimate)}"
        upper.set_title(title, fontsize=10, loc="left", parse_math=False)
    axes[-1].set_xlabel("Q (1/Å)")
    _save(figure, path)


def _draw_pattern(upper: Axes, lower: Axes, sized: Sized) -> None:
    pattern = sized.pattern
    covered = pattern.coverage > 0
    blank = np.where(covered, 1.0, np.nan)
    upper.plot(pattern.q, pattern.intensity * blank, color=GREY, lw=0.7, label="measured")
    upper.set_ylabel("I(Q), area 1000")
    lower.axhline(0.0, color="black", lw=0.5)
    lower.set_ylabel("residual")
    if sized.explanation is not None:
        model, background = sized.explanation.model, sized.explanation.background
        upper.plot(pattern.q, model * blank, color=ORANGE, lw=1.1, label="explanation")
        upper.plot(pattern.q, background * blank, color=BLUE, lw=0.9, ls="--", label="background")
        lower.plot(pattern.q, (pattern.intensity - model) * blank, color=GREY, lw=0.6)
    else:
        lower.text(0.5, 0.5, "no explaining pattern", ha="center", transform=lower.transAxes)
    upper.legend(frameon=False, fontsize=8)


def draw_refinements(refined: Sequence[tuple[str, str, Refinement]], path: Path) -> None:
    """Draw each pattern with the refined model, its background, and the residual over sigma.

    Args:
        refined: name, numbers in words and refinement of each pattern; at least one.
        path: image to write; its suffix decides the format.

    Raises:
        Fatal: matplotlib is missing or the image cannot be written.
    """
    figure = _new_figure(10, 4.6 * len(refined))
    axes = figure.subplots(
        2 * len(refined), 1, squeeze=False, height_ratios=[3, 1] * len(refined), sharex=True
    )[:, 0]
    for (name, numbers, found), upper, lower in zip(refined, axes[::2], axes[1::2], strict=True):
        _draw_refinement(upper, lower, found)
        shown = name.encode("utf-8", "replace").decode()
        upper.set_title(f"{shown}\n{numbers}", fontsize=9, loc="left", parse_math=False)
    axes[-1].set_xlabel("Q (1/Å)")
    _save(figure, path)


def _draw_refinement(upper: Axes, lower: Axes, found: Refinement) -> None:
    """Draw one refinement; gaps of the pattern stay gaps."""
    used = found.data.used
    q = PUBLISHED_GRID.q_min + PUBLISHED_GRID.step * np.arange(used.size)
    measured, model, background, residual = (np.full(used.size, np.nan) for _ in range(4))
    measured[used], model[used] = found.data.intensity, found.curves.total
    background[used] = found.curves.background
    residual[used] = (found.data.intensity - found.curves.total) / found.data.sigma
    upper.plot(q, measured, color=GREY, lw=0.7, label="measured")
    upper.plot(q, model, color=ORANGE, lw=1.1, label="refined model")
    upper.plot(q, background, color=BLUE, lw=0.9, ls="--", label="background")
    upper.set_ylabel("I(Q), area 1000")
    upper.legend(frameon=False, fontsize=8)
    lower.axhline(0.0, color="black", lw=0.5)
    lower.plot(q, residual, color=GREY, lw=0.5)
    lower.set_ylabel("residual / sigma")


def draw_growth(moments: Sequence[Moment], title: str, path: Path) -> None:
    """Draw size against time with its 90 % band, the truth where it is known, and abstentions.

    Raises:
        Fatal: matplotlib is missing or the image cannot be written.
    """
    figure = _new_figure(9, 4.8)
    axes = figure.subplots()
    unit, length = ("min", 60.0) if max((m.seconds for m in moments), default=0) > 180 else ("s", 1)
    sized = [m for m in moments if m.estimate.interval_nm is not None]
    if sized:
        times = [m.seconds / length for m in sized]
        low = [m.estimate.interval_nm[0] for m in sized if m.estimate.interval_nm]
        high = [m.estimate.interval_nm[1] for m in sized if m.estimate.interval_nm]
        axes.fill_between(times, low, high, color=BLUE, alpha=0.2, lw=0, label="90 % interval")
        diameters = [m.estimate.diameter_nm or np.nan for m in sized]
        axes.plot(times, diameters, "o", ms=3.5, color=BLUE, label="predicted diameter")
    true = [(m.seconds / length, m.true_diameter_nm) for m in moments if m.true_diameter_nm]
    if true:
        axes.plot(*zip(*true, strict=True), color=ORANGE, lw=1.5, label="true diameter")
    silent = [m.seconds / length for m in moments if m.estimate.interval_nm is None]
    if silent:
        axes.plot(
            silent,
            np.zeros(len(silent)),
            "x",
            color=GREY,
            label="no size given",
            transform=axes.get_xaxis_transform(),
            clip_on=False,
        )
    axes.set(xlabel=f"time ({unit})", ylabel="number-average diameter (nm)", title=title)
    axes.grid(alpha=0.3)
    if moments:
        axes.legend(frameon=False)
    _save(figure, path)
