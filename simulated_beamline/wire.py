"""Documents as bytes: plain msgpack with arrays as one extension type, and never pickle.

Arrays are extension type 42: msgpack of (dtype string, shape), then the raw bytes in C order.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, cast

import msgpack
import numpy as np
import numpy.typing as npt

ARRAY = 42
"""msgpack extension type of arrays."""


def encode(document: Mapping[str, Any]) -> bytes:
    """Encode a document.

    Raises:
        TypeError: it holds something that has no safe form (objects, structured arrays, ...).
        OverflowError: it holds an integer beyond 64 bits.
    """
    return cast("bytes", msgpack.packb(dict(document), default=_plain, use_bin_type=True))


def decode(body: bytes) -> dict[str, Any]:
    """Decode what `encode` made; the arrays are read-only.

    Raises:
        ValueError: it is no such message.
    """
    return cast(
        "dict[str, Any]",
        msgpack.unpackb(body, ext_hook=_array, raw=False, strict_map_key=False),
    )


def message(prefix: bytes, name: str, document: Mapping[str, Any]) -> bytes:
    """One message as bluesky's ZMQ publisher lays it out: prefix, name and body, by one space."""
    return b" ".join((prefix, name.encode(), encode(document)))


def _plain(value: object) -> Any:
    if isinstance(value, np.ndarray):
        return _extension(cast("npt.NDArray[Any]", value))
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, set | frozenset):
        return sorted(cast("set[str]", value))
    if isinstance(value, os.PathLike):
        return os.fspath(cast("os.PathLike[str]", value))
    raise TypeError(f"a document cannot carry a {type(value).__name__}")


def _extension(array: npt.NDArray[Any]) -> msgpack.ExtType:
    if array.dtype.hasobject or array.dtype.names is not None:
        raise TypeError(f"a document cannot carry an array of {array.dtype}")
    head = cast("bytes", msgpack.packb((array.dtype.str, array.shape)))
    return msgpack.ExtType(ARRAY, head + array.tobytes(order="C"))


def _array(code: int, data: bytes) -> npt.NDArray[Any]:
    if code != ARRAY:
        raise ValueError(f"unknown extension type {code}")
    unpacker = msgpack.Unpacker(max_buffer_size=max(len(data), 1))
    unpacker.feed(data)
    dtype, shape = unpacker.unpack()
    kind = np.dtype(dtype)
    if kind.hasobject:
        raise ValueError("an array of objects is refused")
    return np.frombuffer(data, kind, offset=unpacker.tell()).reshape(shape)
