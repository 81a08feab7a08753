"""Frames of a made-up run, as the dashboard holds them."""

from dataclasses import replace

from qd_agent.core.prediction import Prediction
from qd_agent.dashboard.records import FIRST_NAMED, FrameRow, row_of
from tests.helpers.predictions import refused, sized


def row(seq_num: int, prediction: Prediction | None = None, **changes: object) -> FrameRow:
    """A frame at 1.7e9 + seq_num s, stored 0.5 s later."""
    found, stored = prediction or sized("run-1", seq_num), 1.7e9 + seq_num + 0.5
    made = row_of(found, f"{seq_num}-0", stored, FIRST_NAMED)
    assert made is not None
    return replace(made, **changes)  # type: ignore[arg-type]


def growing(count: int, per_minute: float, sd: float = 0.03, start: int = 1) -> list[FrameRow]:
    """Frames a second apart, from 3 nm, that grow without any scatter."""
    found: list[FrameRow] = []
    for i in range(count):
        size = 3.0 + per_minute * i / 60.0
        bounds = {"low": size - 1.645 * sd, "high": size + 1.645 * sd}
        found.append(row(start + i, diameter=size, sd=sd, **bounds))
    return found


def without_size(seq_num: int, verdict: str = "bad_frame") -> FrameRow:
    """A frame without a size."""
    return row(seq_num, refused("run-1", seq_num, "the cell is empty"), verdict=verdict)
