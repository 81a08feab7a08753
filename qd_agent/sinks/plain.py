"""Metadata from outside, made fit for JSON in any store."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

import numpy as np

_DEPTH = 12
_ITEMS = 1000
_LARGEST_INTEGER = 2**63 - 1
_LIMIT_BYTES = 256_000
_SHORT = ("uid", "time", "plan_name", "scan_id", "sample_name", "sample")


def plain_metadata(document: Mapping[str, object]) -> dict[str, object]:
    """Give a start document as JSON can hold it: no NaN, no bytes, no huge arrays or integers.

    A document above 256 kB is shortened to its few best known keys.
    """
    full = {plain_text(str(key)): plain(value) for key, value in document.items()}
    if len(json.dumps(full)) <= _LIMIT_BYTES:
        return full
    short = {key: full[key] for key in _SHORT if key in full and _is_short(full[key])}
    return {**short, "shortened": True}


def plain(value: object, depth: int = _DEPTH) -> object:
    """Give the nearest thing to `value` that JSON can hold."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, (int, float, np.number)):
        return _number(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"{len(value)} bytes"
    return _collection(value, depth) if depth > 0 else "..."


def plain_text(text: str) -> str:
    """Give text without what stores choke on: NUL and lone surrogates become U+FFFD."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")


def _collection(value: object, depth: int) -> object:
    if isinstance(value, Mapping):
        items = list(value.items())[:_ITEMS]
        return {plain_text(str(key)): plain(item, depth - 1) for key, item in items}
    if isinstance(value, np.ndarray):
        if value.size > _ITEMS:
            return f"array of shape {value.shape}, {value.dtype}"
        return plain(value.tolist(), depth)
    if isinstance(value, (Sequence, set, frozenset)):
        return [plain(item, depth - 1) for item in list(value)[:_ITEMS]]
    return plain_text(str(value))


def _number(value: float | np.number) -> object:
    number = value.item() if isinstance(value, np.number) else value
    if isinstance(number, float):
        return number if math.isfinite(number) else None
    if isinstance(number, int):
        return number if abs(number) <= _LARGEST_INTEGER else str(number)
    return str(number)


def _is_short(value: object) -> bool:
    return isinstance(value, (int, float)) or (isinstance(value, str) and len(value) < 1000)
