"""Figures of an evaluation as PNG: confusion, reliability, error against size, bound, learning."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from qd_agent.core.errors import BadFrame
from training.evaluation_figures import CLASSES_NM, CONFIDENCE_BINS, Scored, class_answers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Float = npt.NDArray[np.float64]

LOG_NAME = "training_log.csv"
LOG_COLUMNS = ("step", "loss", "validation_mean_error_nm", "rate")


def draw_all(folder: Path, scored: Sequence[Scored], title: str) -> list[Path]:
    """Write what the answers allow; gives the files. Nothing is drawn without known sizes."""
    known = [s for s in scored if s.error_nm is not None]
    if not known:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    written = [
        draw_confusion(folder / "confusion.png", known, title),
        draw_reliability(folder / "reliability.png", known, title),
        draw_errors(folder / "error_vs_size.png", known, title),
    ]
    if all(s.bound_nm is not None for s in known):
        written.append(draw_bound(folder / "error_over_bound.png", known, title))
    return written


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure  # noqa: PLC0415 - only those who draw wait for it

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _save(figure: Figure, path: Path) -> Path:
    figure.savefig(path, dpi=140)
    return path


def confusion(scored: Sequence[Scored]) -> npt.NDArray[np.int64]:
    """Counts by (true class, answered class), shape (17, 17)."""
    true, answered, _ = class_answers(scored)
    table = np.zeros((CLASSES_NM.size, CLASSES_NM.size), dtype=np.int64)
    rows = np.rint((true - CLASSES_NM[0]) * 2).astype(int)
    columns = np.rint((answered - CLASSES_NM[0]) * 2).astype(int)
    np.add.at(table, (rows, columns), 1)
    return table


def draw_confusion(path: Path, scored: Sequence[Scored], title: str) -> Path:
    """True against answered class; every row in parts of its sum, with the counts."""
    table = confusion(scored)
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    figure, axes = _figure(7.6, 6.8)
    image = axes.imshow(share, cmap="Blues", vmin=0.0, vmax=1.0, origin="lower")
    for row, column in np.argwhere(table > 0):
        ink = "white" if share[row, column] > 0.6 else "black"
        axes.text(
            column, row, str(table[row, column]), ha="center", va="center", fontsize=7, color=ink
        )
    names = [f"{c:g}" for c in CLASSES_NM]
    axes.set_xticks(range(len(names)), names, fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    right = np.trace(table) / max(1, table.sum())
    axes.set(xlabel="answered class (nm)", ylabel="true class (nm)")
    axes.set_title(f"{title}: {right:.1%} of {table.sum()} in the right class", fontsize=10)
    figure.colorbar(image, ax=axes, label="share of the true class")
    return _save(figure, path)


def draw_reliability(path: Path, scored: Sequence[Scored], title: str) -> Path:
    """Accuracy of the classes against their probability; coverage of intervals in the title."""
    true, answered, confidence = class_answers(scored)
    right = true == answered
    which = np.minimum((confidence * CONFIDENCE_BINS).astype(int), CONFIDENCE_BINS - 1)
    used = np.unique(which)
    accuracy = [right[which == b].mean() for b in used]
    stated = [confidence[which == b].mean() for b in used]
    members = [int((which == b).sum()) for b in used]
    covered = np.mean([s.covered for s in scored])
    figure, axes = _figure(6.2, 5.6)
    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1.0, label="ideal")
    axes.plot(stated, accuracy, "o-", label="classes")
    for x, y, n in zip(stated, accuracy, members, strict=True):
        axes.annotate(str(n), (x, y), textcoords="offset points", xytext=(5, -11), fontsize=8)
    axes.set(xlabel="probability of the class", ylabel="right", xlim=(0, 1.02), ylim=(0, 1.05))
    axes.set_title(f"{title}: 90 % intervals cover {covered:.1%}", fontsize=10)
    axes.legend(loc="upper left")
    return _save(figure, path)


def draw_errors(path: Path, scored: Sequence[Scored], title: str) -> Path:
    """Answer minus truth against truth, with the 90 % interval when the set is small."""
    truth = np.array([s.truth_nm for s in scored], dtype=np.float64)
    error = np.array([s.error_nm for s in scored], dtype=np.float64)
    share = np.array([1.0 if s.share is None else s.share for s in scored])
    figure, axes = _figure(8.4, 4.8)
    if len(scored) <= 100:
        ends = np.array([_interval(s) for s in scored])
        arms = np.abs(ends - (truth + error)[:, None]).T
        axes.errorbar(truth, error, arms, fmt="none", ecolor="0.75", elinewidth=1.0, zorder=1)
    points = axes.scatter(
        truth, error, c=share, s=14, cmap="viridis_r", vmin=0.0, vmax=1.0, zorder=2
    )
    figure.colorbar(points, ax=axes, label="nanocrystal share (1 where unknown)")
    for level in (-0.25, 0.0, 0.25):
        axes.axhline(level, color="0.6", linewidth=0.8, linestyle="-" if level == 0.0 else "--")
    axes.set(xlabel="true number-average diameter (nm)", ylabel="answer − truth (nm)")
    axes.set_title(f"{title}: mean error {np.abs(error).mean():.3f} nm", fontsize=10)
    return _save(figure, path)


def _interval(s: Scored) -> tuple[float, float]:
    if s.estimate is None or s.estimate.interval_nm is None:
        return (np.nan, np.nan)
    return s.estimate.interval_nm


def draw_bound(path: Path, scored: Sequence[Scored], title: str) -> Path:
    """|answer − truth| against the Cramér–Rao bound of every pattern."""
    bound = np.array([s.bound_nm for s in scored], dtype=np.float64)
    error = np.abs(np.array([s.error_nm for s in scored], dtype=np.float64))
    share = np.array([1.0 if s.share is None else s.share for s in scored])
    figure, axes = _figure(6.8, 5.4)
    points = axes.scatter(
        bound, np.maximum(error, 1e-4), c=share, s=9, cmap="viridis_r", vmin=0.0, vmax=1.0
    )
    figure.colorbar(points, ax=axes, label="nanocrystal share")
    ends = np.array([bound.min(), bound.max()])
    for multiple, style in ((1.0, "-"), (1.5, "--")):
        axes.plot(
            ends, multiple * ends, color="0.4", linestyle=style, label=f"{multiple:g} × bound"
        )
    edges = np.geomspace(ends[0], ends[1] * 1.001, 9)
    which = np.digitize(bound, edges)
    rms = [
        (bound[which == b].mean(), np.sqrt((error[which == b] ** 2).mean()))
        for b in np.unique(which)
    ]
    axes.plot(*zip(*rms, strict=True), "k.-", label="RMSE")
    axes.set(
        xscale="log", yscale="log", xlabel="Cramér–Rao bound (nm)", ylabel="|answer − truth| (nm)"
    )
    axes.set_title(title, fontsize=10)
    axes.legend(loc="upper left")
    return _save(figure, path)


def read_log(path: Path) -> dict[str, Float]:
    """Read a training log: columns of `LOG_COLUMNS`; empty cells become NaN.

    Raises:
        BadFrame: it is no such table.
    """
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        return {c: np.array([float(r[c] or "nan") for r in rows]) for c in LOG_COLUMNS}
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise BadFrame(
            f"{path}: not a training log of {', '.join(LOG_COLUMNS)}: {error}"
        ) from error


def draw_learning(path: Path, log: Path) -> Path:
    """Loss, validation error and learning rate against the step.

    Raises:
        BadFrame: the log cannot be read.
    """
    table = read_log(log)
    figure, axes = _figure(8.4, 4.8)
    axes.plot(table["step"], table["loss"], color="C0", linewidth=1.0)
    axes.set(xlabel="step", ylabel="loss (running mean)")
    axes.yaxis.label.set_color("C0")
    checked = np.isfinite(table["validation_mean_error_nm"])
    if checked.any():
        right = axes.twinx()
        right.plot(
            table["step"][checked], table["validation_mean_error_nm"][checked], "o-", color="C1",
            markersize=3,
        )  # fmt: skip
        right.set_ylabel("mean error on validation patterns (nm)", color="C1")
        right.set_ylim(bottom=0.0)
    last = table["rate"][np.isfinite(table["rate"])]
    ends = f"learning rate up to {last.max():.1e}" if last.size else ""
    axes.set_title(f"learning curve; {ends}", fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    return _save(figure, path)
