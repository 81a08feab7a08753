"""Predictions to deliver in tests, with all that is required and as hostile as wanted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qd_agent.core.frame import FrameKey, RunClosed, RunOpened
from qd_agent.core.pattern import PUBLISHED_GRID
from qd_agent.core.prediction import Prediction, Provenance, Verdict

PROVENANCE = Provenance(
    model_name="pbs",
    model_version="1.0.0",
    model_sha256="ab" * 32,
    config_hash="0123456789abcdef",
    poni_sha256="cd" * 32,
    package_version="0.1.0",
)


@dataclass(frozen=True, slots=True)
class Record:
    """A `core.ports.DeliveryRecord`."""

    prediction: Prediction
    intensity: npt.NDArray[np.float32] | None = None
    model: npt.NDArray[np.float32] | None = None


def sized(run_uid: str, seq_num: int, **changes: object) -> Prediction:
    """A frame of `run_uid` with a size."""
    fields: dict[str, object] = {
        "key": FrameKey(run_uid=run_uid, stream="primary", data_key="detector", seq_num=seq_num),
        "frame_time": 1.7e9 + seq_num,
        "publication_time": 1.7e9 + seq_num + 0.3,
        "verdict": Verdict.SIZED,
        "diameter_nm": 4.0 + seq_num / 100,
        "diameter_sd_nm": 0.05,
        "interval_nm": (3.9, 4.2),
        "diameter_volume_nm": 4.3,
        "interval_volume_nm": (4.2, 4.4),
        "dispersion": 0.12,
        "nanocrystal_fraction": 0.3,
        "class_nm": 4.0,
        "class_probabilities": (0.0,) * 16 + (1.0,),
        "misfit": 0.02,
        "flags": ("no_monitor", "dark_missing"),
        "readings": {"temperature": 120.5},
        "provenance": PROVENANCE,
        "latency_ms": {"read": 5.0, "reduce": 20.0, "size": 9.0},
    }
    return Prediction.model_validate({**fields, **changes})


def refused(
    run_uid: str, seq_num: int, reason: str = "the frame cannot be read", **changes: object
) -> Prediction:
    """A frame of `run_uid` without a size."""
    fields: dict[str, object] = {
        "key": FrameKey(run_uid=run_uid, stream="primary", data_key="detector", seq_num=seq_num),
        "frame_time": 1.7e9 + seq_num,
        "publication_time": 1.7e9 + seq_num + 0.3,
        "verdict": Verdict.BAD_FRAME,
        "reason": reason,
        "provenance": PROVENANCE,
    }
    return Prediction.model_validate({**fields, **changes})


def pattern(seq_num: int) -> npt.NDArray[np.float32]:
    """A pattern that can be told from every other."""
    values = np.full(PUBLISHED_GRID.size, 70.0, np.float32)
    values[0] = seq_num
    return values


def record(run_uid: str, seq_num: int) -> Record:
    """A sized frame with its pattern and model."""
    return Record(sized(run_uid, seq_num), pattern(seq_num), pattern(-seq_num))


def opened(run_uid: str, **metadata: object) -> RunOpened:
    """A run that has started."""
    start = {"uid": run_uid, "time": 1.7e9, "plan_name": "count", **metadata}
    return RunOpened(run_uid=run_uid, time=1.7e9, metadata=start)


def closed(run_uid: str) -> RunClosed:
    """A run that has stopped."""
    return RunClosed(
        run_uid=run_uid, time=1.7e9 + 60, exit_status="success", reason="", expected={"primary": 3}
    )
