"""Patterns made small enough to be drawn: for the pattern panel, and as columns of a heat map."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

import numpy as np
import numpy.typing as npt

from qd_agent.dashboard.records import FrameRow
from qd_agent.dashboard.store import Curves, RunStore

CURVE_BIN = 4
"""Points of the grid that are averaged into one that is drawn: 0.0112 1/Å, a fifth of the narrowest
peak of a 10 nm crystal."""
HEAT_BIN = 36
"""Likewise for the heat map: 139 rows of 0.1 1/Å."""
MOST_COLUMNS = 200
"""Columns of one answer: frames evenly chosen among those asked for."""
_KEPT = 4000


def binned_curves(curves: Curves) -> dict[str, list[float]]:
    """Give q, intensity, model and residual as lists, shortened by averaging."""
    q, measured = _binned(curves.q, CURVE_BIN), _binned(curves.intensity, CURVE_BIN)
    found = {"q": _listed(q, 5), "intensity": _listed(measured, 3)}
    if curves.model.size:
        model = _binned(curves.model, CURVE_BIN)
        found |= {"model": _listed(model, 3), "residual": _listed(measured - model, 3)}
    return found


def heat_columns(
    rows: Sequence[FrameRow], curves: Sequence[Curves], last: str
) -> dict[str, object]:
    """Give columns as `Heat.columns` does, of patterns that are at hand."""
    return {
        "q": _listed(_binned(curves[0].q, HEAT_BIN), 3) if curves else [],
        "times": [row.time for row in rows],
        "entries": [row.entry for row in rows],
        "columns": [_listed(_binned(curve.intensity, HEAT_BIN), 2) for curve in curves],
        "last": last,
    }


class Heat:
    """I(Q) of many frames, coarsely; what was read once is remembered for the other viewers.

    Args:
        store: Redis.
    """

    def __init__(self, store: RunStore) -> None:
        self._store = store
        self._known: OrderedDict[tuple[str, str], list[float] | None] = OrderedDict()
        self._lock = Lock()
        self._q: list[float] = []

    def columns(self, uid: str, after: str) -> dict[str, object]:
        """Give the columns of the frames that were stored after `after`.

        Returns:
            `q`; `times`, `entries` and `columns` of as many frames as have a pattern; `last`, the
            entry after which to ask next.
        """
        rows, last = self._store.all_frames(uid) if after == "0-0" else self._newer(uid, after)
        chosen = _evenly(rows, MOST_COLUMNS)
        found = [(row, self._column(uid, row)) for row in chosen]
        drawn = [(row, column) for row, column in found if column is not None]
        return {
            "q": self._q,
            "times": [row.time for row, _ in drawn],
            "entries": [row.entry for row, _ in drawn],
            "columns": [column for _, column in drawn],
            "last": last,
        }

    def _newer(self, uid: str, after: str) -> tuple[list[FrameRow], str]:
        rows: list[FrameRow] = []
        last, more = after, True
        while more:
            found, reached = self._store.frames(uid, last)
            more, last = reached != last, reached
            rows += found
        return rows, last

    def _column(self, uid: str, row: FrameRow) -> list[float] | None:
        name = (uid, row.entry)
        with self._lock:
            if name in self._known:
                self._known.move_to_end(name)
                return self._known[name]
        curves = self._store.curves(uid, row.key, row.entry)
        column = None if curves is None else _listed(_binned(curves.intensity, HEAT_BIN), 2)
        with self._lock:
            if curves is not None and not self._q:
                self._q = _listed(_binned(curves.q, HEAT_BIN), 3)
            self._known[name] = column
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return column


def _binned(values: npt.NDArray[np.floating], width: int) -> npt.NDArray[np.float64]:
    """Average neighbours; what is left over at the end is left out."""
    whole = values[: values.size // width * width].astype(np.float64)
    return whole.reshape(-1, width).mean(axis=1)


def _listed(values: npt.NDArray[np.float64], digits: int) -> list[float]:
    return [float(v) for v in np.round(np.nan_to_num(values), digits)]


def _evenly(rows: list[FrameRow], most: int) -> list[FrameRow]:
    if len(rows) <= most:
        return rows
    places = np.unique(np.linspace(0, len(rows) - 1, most).astype(int))
    return [rows[place] for place in places]
