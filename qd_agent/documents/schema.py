"""Checks a document against event-model's published schemas."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from typing import cast

import event_model

from qd_agent.core.errors import BadFrame

MAX_NAME = 128
"""Longest run uid, stream name and data key that a frame's key can carry."""

MAX_TEXT = 4096
"""Longest uid, URI or path in a file; the longest path that Linux opens."""

MAX_ENTRIES = 10_000
"""Most data keys, readings or other entries in a map of one document."""

MAX_ROWS = 100_000
"""Most events (or datums) in one page."""

LARGEST = 1 << 40
"""Beyond any real number of frames, and well within 64-bit integers."""


def validate(name: str, doc: Mapping[str, object]) -> None:
    """Check a document of the given name.

    Raises:
        BadFrame: event-model's schema does not allow it; the line names the first offence.
    """
    _check_size(name, doc)
    validator = event_model.schema_validators[event_model.DocumentNames[name]]
    try:
        # The first offence only: a hostile document may hold a million of them.
        error = next(validator.iter_errors(doc), None)
    except RecursionError as too_deep:
        raise BadFrame(f"invalid {name} document: it is nested too deeply") from too_deep
    if error is not None:
        where = ".".join(str(part) for part in error.absolute_path) or "the document"
        raise BadFrame(f"invalid {name} document: {_cut(where)}: {_cut(error.message)}")


def _check_size(name: str, doc: Mapping[str, object]) -> None:
    """Refuse what is too large before it is looked at one by one, which takes minutes."""
    for key, value in doc.items():
        if isinstance(value, Mapping) and len(cast("Sized", value)) > MAX_ENTRIES:
            raise BadFrame(
                f"invalid {name} document: {_cut(key)} has {len(cast('Sized', value))} entries, "
                f"more than {MAX_ENTRIES}"
            )
        if name.endswith("_page") and isinstance(value, list):
            rows = len(cast("list[object]", value))
            if rows > MAX_ROWS:
                raise BadFrame(f"{name} has {rows} rows, more than {MAX_ROWS}")


def text(doc: Mapping[str, object], key: str) -> str:
    """Give a name from a validated document.

    Raises:
        BadFrame: empty, or longer than a frame's key can carry.
    """
    value = str(doc[key])
    return checked_name(value, key)


def checked_name(value: str, what: str) -> str:
    """Give `value` back when a frame's key can carry it.

    Raises:
        BadFrame: empty, longer than MAX_NAME characters, or with characters that would move the
            cursor of whoever reads a log.
    """
    if not value.isprintable():
        raise BadFrame(f"{what} {value[:40]!a} holds characters that cannot be printed")
    if not 1 <= len(value) <= MAX_NAME:
        raise BadFrame(f"{what} {value[:20]!r}... has {len(value)} characters, not 1 to {MAX_NAME}")
    return value


def bounded(value: str, what: str) -> str:
    """Give `value` back when it is a text that is worth keeping.

    Raises:
        BadFrame: longer than MAX_TEXT characters.
    """
    if len(value) > MAX_TEXT:
        raise BadFrame(f"{what} {value[:20]!a}... is longer than {MAX_TEXT} characters")
    return value


def number(doc: Mapping[str, object], key: str) -> float:
    """Give a number from a validated document.

    Raises:
        BadFrame: not finite.
    """
    try:
        value = float(cast("float", doc[key]))
    except OverflowError:
        value = float("inf")
    if not abs(value) < float("inf"):
        raise BadFrame(f"{key} is {value}, not a finite number")
    return value


def whole(value: object, what: str, lowest: int) -> int:
    """Give a whole number from a validated document.

    Raises:
        BadFrame: below `lowest`, or beyond what files and databases can count.
    """
    count = int(cast("int", value))
    if not lowest <= count < LARGEST:
        raise BadFrame(f"{what} is {str(count)[:30]}, not {lowest} to {LARGEST}")
    return count


def mapping(doc: Mapping[str, object], key: str) -> Mapping[str, object]:
    """Give the map under `key` of a validated document, empty when it is absent."""
    return cast("Mapping[str, object]", doc.get(key) or {})


def _cut(line: str) -> str:
    line = "".join(c if c.isprintable() else " " for c in " ".join(line.split()))
    return line if len(line) <= 160 else line[:157] + "..."
