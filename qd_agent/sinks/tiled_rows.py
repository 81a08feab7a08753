"""The table `predictions` in Tiled: one row a frame, scalar columns only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from qd_agent.core.prediction import Prediction, StoredFrame
from qd_agent.sinks.plain import plain_text

if TYPE_CHECKING:
    import pyarrow

FRAME_COLUMNS = ("stream", "data_key", "seq_num", "index")

KEY_COLUMNS = (*FRAME_COLUMNS, "model_version", "model_sha256", "revision")
"""By these a repeat is known; `StoredFrame` has them in this order."""

_KEY_TEXTS = ("stream", "data_key", "model_version", "model_sha256")

STAGES = ("read", "reduce", "size")

_INTEGERS = ("row", "seq_num", "index", "revision")
_TEXTS = (
    "stream",
    "data_key",
    "verdict",
    "reason",
    "flags",
    "model_version",
    "model_sha256",
    "dark_hash",
    "background_hash",
    "class_probabilities",
    "readings",
    "quality",
)
_NUMBERS = (
    "frame_time",
    "publication_time",
    "diameter_nm",
    "diameter_sd_nm",
    "interval_low_nm",
    "interval_high_nm",
    "diameter_volume_nm",
    "interval_volume_low_nm",
    "interval_volume_high_nm",
    "dispersion",
    "nanocrystal_fraction",
    "class_nm",
    "misfit",
    *(f"latency_{stage}_ms" for stage in STAGES),
)


def schema() -> pyarrow.Schema:
    """Give the columns.

    `row` counts from 0 and is the index into the array `patterns`; numbers that do not exist are
    null (NaN in pandas); `flags` are joined by commas, `readings`, `quality` and
    `class_probabilities` JSON.
    """
    import pyarrow as pa  # noqa: PLC0415 - heavy, and only with Tiled in use

    return pa.schema(
        [(name, pa.int64()) for name in _INTEGERS]
        + [(name, pa.string()) for name in _TEXTS]
        + [(name, pa.float64()) for name in _NUMBERS]
    )


def row_key(prediction: Prediction) -> StoredFrame:
    """Give the key by which the prediction's row is known; the text as the table holds it."""
    key = StoredFrame.of(prediction)
    texts = {name: plain_text(getattr(key, name)) for name in _KEY_TEXTS}
    return replace(key, **texts)


def to_table(predictions: Sequence[Prediction], first_row: int) -> pyarrow.Table:
    """Give predictions as rows `first_row`, `first_row` + 1 and so on."""
    import pyarrow as pa  # noqa: PLC0415 - heavy, and only with Tiled in use

    rows = [_row(prediction, first_row + i) for i, prediction in enumerate(predictions)]
    return pa.Table.from_pylist(rows, schema=schema())


def _row(prediction: Prediction, row: int) -> dict[str, object]:
    names = ("frame_time", "publication_time", "diameter_nm", "diameter_sd_nm")
    more = ("diameter_volume_nm", "dispersion", "nanocrystal_fraction", "class_nm", "misfit")
    low, high = prediction.interval_nm or (None, None)
    volume_low, volume_high = prediction.interval_volume_nm or (None, None)
    return {
        "row": row,
        **asdict(row_key(prediction)),
        "verdict": prediction.verdict.value,
        "reason": plain_text(prediction.reason),
        "flags": plain_text(",".join(prediction.flags)),
        "dark_hash": plain_text(prediction.provenance.dark_hash),
        "background_hash": plain_text(prediction.provenance.background_hash),
        "quality": json.dumps(prediction.quality),
        "class_probabilities": json.dumps(prediction.class_probabilities),
        "readings": plain_text(json.dumps(prediction.readings)),
        **{name: getattr(prediction, name) for name in (*names, *more)},
        "interval_low_nm": low,
        "interval_high_nm": high,
        "interval_volume_low_nm": volume_low,
        "interval_volume_high_nm": volume_high,
        **{f"latency_{stage}_ms": prediction.latency_ms.get(stage) for stage in STAGES},
    }
