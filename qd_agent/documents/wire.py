"""The safe codec: msgpack with arrays of numbers (in two forms), or JSON; never pickle.

Arrays travel as `arrays.py` says. The packer and unpacker come from msgpack's inner module,
because `msgpack_numpy.patch()` (called by `import bluesky_kafka`) replaces the public names by
versions that unpickle object arrays.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from os import PathLike, fspath
from typing import cast

import numpy as np

from qd_agent.core.errors import BadFrame
from qd_agent.documents import _msgpack
from qd_agent.documents.arrays import pack_array, unpack_array, unpack_numpy

MAX_BYTES = 64 << 20
MAX_JSON_BYTES = 16 << 20
"""JSON costs up to 24 times its size in memory and cannot be counted while it is parsed."""
MAX_DEPTH = 64
MAX_ITEMS = 1 << 22
"""Longest list or map; images beyond it must travel as arrays."""
MAX_CONTAINERS = 1 << 20
"""Most lists and maps in one document; each costs 56 bytes or more and one byte on the wire."""
PICKLE_REFUSED = (
    "pickled documents are refused; set a safe serializer, see docs/how-to/zmq-beamline.md "
    "(whoever sends a pickle can run code in every listener that opens it)"
)

NAMES = frozenset(
    {
        "start",
        "stop",
        "descriptor",
        "event",
        "event_page",
        "resource",
        "datum",
        "datum_page",
        "stream_resource",
        "stream_datum",
        "bulk_events",
        "bulk_datum",
    }
)
"""Every name that event-model gives a document."""

_JSON_STARTS = (b"{", b"[")
_PICKLE_PROTOCOLS = range(2, 6)
_PICKLE_TEXT_STARTS = b"(]}cilNISVFLG"
_HARMLESS = frozenset({int, float, bool, type(None)})


class Pickled(BadFrame):
    """The body is a pickle; it was not opened."""


def dumps(doc: Mapping[str, object]) -> bytes:
    """Encode a document.

    Arrays of numbers, booleans or text keep their dtype and shape; structured arrays become
    lists, sets become sorted lists, paths become text.

    Raises:
        BadFrame: something in it has no safe form (object arrays, other objects, integers
            beyond 64 bits, map keys that are no text, more than 64 levels).
    """
    try:
        body = _msgpack.pack(doc, default=_plain)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise BadFrame(f"the document cannot be encoded: {_short(error)}") from error
    _check(doc)
    return body


def loads(body: bytes, max_bytes: int = MAX_BYTES) -> dict[str, object]:
    """Decode the body of a document; executes nothing, whatever the bytes are.

    Arrays come out read-only, of the shape and dtype that they were sent with (text arrays as
    lists). A body starting with `{` is read as JSON.

    Args:
        body: the bytes.
        max_bytes: larger bodies are refused.

    Raises:
        Pickled: it is a pickle, which only the publisher can change.
        BadFrame: too large, not msgpack or JSON, not a map with text keys, more than
            64 levels, or an array whose dtype, shape and length do not fit together.
    """
    return _document(_load(body, max_bytes))


def loads_named(body: bytes, max_bytes: int = MAX_BYTES) -> tuple[str, dict[str, object]]:
    """Decode a list of a document's name and its body, as bluesky-kafka sends it.

    As `loads` in everything else; a body starting with `[` is read as JSON.

    Raises:
        Pickled: it is a pickle, which only the publisher can change.
        BadFrame: as for `loads`, or it is no such list.
    """
    pair = _load(body, max_bytes)
    if not isinstance(pair, list) or len(cast("list[object]", pair)) != 2:
        raise BadFrame(f"a message is a list of name and document, this is {_kind(pair)}")
    name, doc = cast("list[object]", pair)
    if not isinstance(name, str) or name not in NAMES:
        raise BadFrame(f"{ascii(name)[:40]} is not the name of a document")
    return name, _document(doc)


def _load(body: bytes, max_bytes: int) -> object:
    if not body:
        raise BadFrame("the document is empty")
    if len(body) > max_bytes:
        raise BadFrame(f"the document has {len(body)} bytes, more than the limit of {max_bytes}")
    if _is_pickle(body):
        raise Pickled(PICKLE_REFUSED)
    try:
        return _load_json(body) if body[:1] in _JSON_STARTS else _load_msgpack(body)
    except _msgpack.FAILURES as error:
        raise BadFrame(f"not a document in msgpack or JSON: {_short(error)}") from error


def _document(doc: object) -> dict[str, object]:
    if not isinstance(doc, dict):
        raise BadFrame(f"a document is a map, this is {_kind(doc)}")
    _check(doc)
    return cast("dict[str, object]", doc)


def _load_json(body: bytes) -> object:
    if len(body) > MAX_JSON_BYTES:
        raise BadFrame(f"a JSON document has {len(body)} bytes, more than {MAX_JSON_BYTES}")
    return json.loads(body.decode())


def _load_msgpack(body: bytes) -> object:
    containers = 0

    def count(value: object) -> object:
        nonlocal containers
        containers += 1
        if containers > MAX_CONTAINERS:
            raise BadFrame(f"the document holds more than {MAX_CONTAINERS} lists and maps")
        return unpack_numpy(value) if isinstance(value, dict) and b"nd" in value else value

    return _msgpack.unpack(body, hook=count, ext_hook=unpack_array, max_items=MAX_ITEMS)


def _is_pickle(body: bytes) -> bool:
    """Tell a pickle from a document.

    0x80 opens pickles of protocol 2 to 5; in msgpack it is the empty map, after which a document
    would end. Protocols 0 and 1 start with an opcode and end with a full stop; in msgpack that
    opcode is a small integer, after which a document would end too.
    """
    if len(body) < 2:
        return False
    if body[0] == 0x80:
        return body[1] in _PICKLE_PROTOCOLS
    return body[0] in _PICKLE_TEXT_STARTS and body[-1:] == b"."


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray):
        return pack_array(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (set, frozenset)):
        return sorted(cast("set[str]", value))
    if isinstance(value, PathLike):
        return fspath(cast("PathLike[str]", value))
    raise TypeError(f"{type(value).__name__} has no safe form")


def _check(doc: object) -> None:
    """Refuse keys that are no text, text that is no Unicode, odd types and deep nesting.

    Everything downstream (schemas, databases, JSON) may then rely on it.
    """
    level: list[object] = [doc]
    for _ in range(MAX_DEPTH):
        below: list[object] = []
        for value in level:
            _check_one(value, below.append)
        if not below:
            return
        level = below
    raise BadFrame(f"the document is nested more than {MAX_DEPTH} levels deep")


def _check_one(value: object, descend: Callable[[object], None]) -> None:
    if isinstance(value, Mapping):
        for key, item in cast("Mapping[object, object]", value).items():
            if not isinstance(key, str):
                raise BadFrame(f"a map in the document has the key {str(key)[:40]!r}, not a text")
            _check_text(key)
            _check_item(item, descend)
    elif isinstance(value, (list, tuple)):
        items = cast("Sequence[object]", value)
        if not set(map(type, items)) <= _HARMLESS:  # a million pixels are passed in one step
            for item in items:
                _check_item(item, descend)


def _check_item(item: object, descend: Callable[[object], None]) -> None:
    if isinstance(item, (Mapping, list, tuple)):
        descend(cast("object", item))
    elif isinstance(item, str):
        _check_text(item)
    elif isinstance(item, (bytes, bytearray, _msgpack.Timestamp)):
        raise BadFrame(f"the document holds {_kind(item)}, which documents have no use for")


def _check_text(text: str) -> None:
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadFrame("the document holds text that is not valid Unicode") from error


def _kind(value: object) -> str:
    return {"list": "a list", "str": "a text", "bytes": "raw bytes", "NoneType": "nothing"}.get(
        type(value).__name__, f"a value of type {type(value).__name__}"
    )


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:160]
