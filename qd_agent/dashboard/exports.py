"""A run as a file: every prediction whole in JSON, one line a frame in CSV."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Generator, Iterable, Mapping
from typing import Any

_NUMBERS = (
    "diameter_nm",
    "diameter_sd_nm",
    "interval_low_nm",
    "interval_high_nm",
    "diameter_volume_nm",
    "dispersion",
    "nanocrystal_fraction",
    "class_nm",
    "misfit",
)
COLUMNS = (
    "seq_num",
    "index",
    "stream",
    "data_key",
    "frame_time",
    "verdict",
    *_NUMBERS,
    "flags",
    "reason",
    "readings",
    "model",
    "config_hash",
)


def csv_lines(predictions: Iterable[Mapping[str, Any]]) -> Generator[str]:
    """Give the lines of a CSV file, the header first; numbers that do not exist are empty."""
    yield _line(COLUMNS)
    for prediction in predictions:
        yield _line([_safe(value) for value in _values(prediction)])


def json_lines(run: Mapping[str, Any], predictions: Iterable[Mapping[str, Any]]) -> Generator[str]:
    """Give a JSON document in pieces: the run, and its predictions as the store holds them."""
    yield f'{{"run": {json.dumps(run)}, "predictions": [\n'
    between = ""
    for prediction in predictions:
        yield f"{between}{json.dumps(prediction)}"
        between = ",\n"
    yield "\n]}\n"


def file_name(uid: str, kind: str) -> str:
    """Give a file name that says which run it is, and nothing else of what came from outside."""
    return f"qd-{re.sub(r'[^A-Za-z0-9-]', '_', uid)[:36]}.{kind}"


def _values(prediction: Mapping[str, Any]) -> list[object]:
    key, made_by = prediction.get("key", {}), prediction.get("provenance", {})
    low, high = prediction.get("interval_nm") or (None, None)
    numbers = {**prediction, "interval_low_nm": low, "interval_high_nm": high}
    return [
        key.get("seq_num"),
        key.get("index"),
        key.get("stream"),
        key.get("data_key"),
        prediction.get("frame_time"),
        prediction.get("verdict"),
        *(numbers.get(name) for name in _NUMBERS),
        " ".join(prediction.get("flags", ())),
        prediction.get("reason"),
        json.dumps(prediction.get("readings", {})),
        f"{made_by.get('model_name')} {made_by.get('model_version')}",
        made_by.get("config_hash"),
    ]


def _safe(value: object) -> object:
    """Keep spreadsheets from taking a text for a formula, and lines whole."""
    if not isinstance(value, str):
        return value
    text = value.replace("\r", " ")
    return f"'{text}" if text.lstrip()[:1] in {"=", "+", "-", "@"} else text


def _line(values: Iterable[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()
