"""The few calls of msgpack that the codec needs, out of reach of any monkeypatch."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from msgpack import Timestamp
from msgpack.exceptions import UnpackException

__all__ = ["FAILURES", "Timestamp", "pack", "unpack", "unpack_first"]

FAILURES = (
    UnpackException,  # incomplete input
    ValueError,  # bad format, extra bytes, beyond a limit, bad UTF-8, bad JSON
    TypeError,  # an unhashable key
    OverflowError,  # a timestamp or number outside of what Python can hold
    RecursionError,  # nested beyond the parser
    MemoryError,  # a length that was promised and never came
)
"""What decoding hostile bytes may raise; anything else would be our own mistake."""


def _inner() -> Any:  # pyright: ignore[reportExplicitAny, reportAny] - msgpack ships no types
    """Give the module that really holds Packer and Unpacker; `msgpack.*` may be patched."""
    try:
        return importlib.import_module("msgpack._cmsgpack")
    except ImportError:
        return importlib.import_module("msgpack.fallback")


def pack(value: object, default: Callable[[object], object]) -> bytes:
    """Encode `value`; `default` gets what msgpack does not know."""
    return _inner().Packer(default=default, use_bin_type=True).pack(value)


def unpack(
    body: bytes,
    *,
    hook: Callable[[object], object],
    ext_hook: Callable[[int, bytes], object],
    max_items: int,
) -> object:
    """Decode the one value that `body` holds; trailing bytes are an error.

    `hook` sees every list and map once it is complete.
    """
    unpacker = _inner().Unpacker(
        None,
        list_hook=hook,
        object_hook=hook,
        ext_hook=ext_hook,
        raw=False,
        strict_map_key=True,
        max_buffer_size=len(body),
        max_array_len=min(max_items, len(body)),
        max_map_len=min(max_items, len(body)),
    )
    unpacker.feed(body)
    value = unpacker.unpack()
    if unpacker.tell() != len(body):
        raise ValueError(f"{len(body) - unpacker.tell()} bytes follow the document")
    return value


def unpack_first(body: bytes) -> tuple[object, int]:
    """Decode the first value in `body`; also give how many bytes it took."""
    unpacker = _inner().Unpacker(None, raw=False, strict_map_key=True, max_buffer_size=len(body))
    unpacker.feed(body)
    return unpacker.unpack(), unpacker.tell()
