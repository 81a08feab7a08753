"""Arrays on the wire: the msgpack extension type 42, and the maps of msgpack-numpy.

The extension's payload is msgpack of `(dtype.str, shape)` followed by the raw bytes in C order. The
package msgpack-numpy (which bluesky-kafka uses) sends a map instead: `nd`, `type`, `kind`, `shape`
and `data`, with keys of bytes. It unpickles arrays of objects; we refuse them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from msgpack import ExtType

from qd_agent.core.errors import BadFrame
from qd_agent.documents import _msgpack

ARRAY_CODE = 42
MAX_DIMENSIONS = 8
MAX_FIELDS = 100
LAST_CODE_POINT = 0x10FFFF

# Real and complex numbers, booleans, and fixed-width text; a document has no use for more.
_DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|c8|c16|U\d{1,6})")
_HEADER_BYTES = 256


def pack_array(array: np.ndarray) -> object:
    """Give the extension value of an array, or nested lists for a structured one.

    Raises:
        TypeError: an array of Python objects.
    """
    if array.dtype.hasobject:
        raise TypeError("arrays of Python objects have no safe form")
    if not _DTYPE.fullmatch(array.dtype.str):
        return array.tolist()
    header = _msgpack.pack((array.dtype.str, array.shape), default=_nothing_else)
    return ExtType(ARRAY_CODE, header + array.tobytes(order="C"))


def unpack_array(code: int, payload: bytes) -> object:
    """Give the array in an extension value: read-only, as it was sent; lists for text arrays.

    Raises:
        BadFrame: another code, a refused dtype, or a length that does not fit the shape.
    """
    if code != ARRAY_CODE:
        raise BadFrame(f"msgpack extension type {code} is unknown; only arrays, {ARRAY_CODE}, are")
    header, length = _msgpack.unpack_first(payload[:_HEADER_BYTES])
    if not isinstance(header, list) or len(cast("list[object]", header)) != 2:
        raise BadFrame("an array's header is not (dtype, shape)")
    dtype_code, shape = cast("list[object]", header)
    return _array(_dtype(dtype_code), _shape(shape), payload, length)


def unpack_numpy(found: Mapping[object, object]) -> object:
    """Give the array or the number in a map of msgpack-numpy; any other map as it is.

    Arrays come out read-only; text and structured arrays as lists.

    Raises:
        BadFrame: an array of Python objects (it holds a pickle), another refused dtype, or a
            length that does not fit the shape.
    """
    is_array, data = found.get(b"nd"), found.get(b"data")
    if not isinstance(is_array, bool) or not isinstance(data, bytes):
        return found
    if found.get(b"kind") == b"O":
        raise BadFrame("an array of Python objects is refused, since it holds a pickle")
    if not is_array:
        return np.asarray(_array(_dtype(found.get(b"type")), (1,), data, 0))[0].item()
    shape = _shape(found.get(b"shape"))
    if found.get(b"kind") == b"V":
        return _array(_fields(found.get(b"type")), shape, data, 0).tolist()
    return _array(_dtype(found.get(b"type")), shape, data, 0)


def _array(dtype: np.dtype, shape: tuple[int, ...], payload: bytes, offset: int) -> Any:
    """Give the array that lies in `payload` from `offset` on; a list where it holds text."""
    count = math.prod(shape)
    if count * dtype.itemsize != len(payload) - offset:
        raise BadFrame(
            f"an array of shape {shape} and dtype {dtype.str} needs {count * dtype.itemsize} "
            f"bytes, {len(payload) - offset} came"
        )
    if count == 0 or dtype.itemsize == 0:
        array = np.zeros(shape, dtype)
    else:
        array = np.frombuffer(payload, dtype, offset=offset).reshape(shape)
    if dtype.kind != "U":
        return array
    # numpy fails hard on text beyond Unicode instead of refusing it.
    if (array.reshape(-1).view(dtype.str[0] + "u4") > LAST_CODE_POINT).any():
        raise BadFrame("a text array holds characters beyond Unicode")
    return array.tolist()


def _fields(fields: object) -> np.dtype:
    """Give the dtype of a structured array whose fields are numbers, each of them one."""
    if not isinstance(fields, list) or not 1 <= len(cast("list[object]", fields)) <= MAX_FIELDS:
        raise BadFrame(f"a structured array has no list of at most {MAX_FIELDS} fields")
    found: list[tuple[str, np.dtype]] = []
    for field in cast("list[object]", fields):
        parts = cast("list[object]", field) if isinstance(field, list) else []
        if len(parts) != 2 or not isinstance(parts[0], str):
            raise BadFrame("a structured array with fields other than (name, dtype) is refused")
        dtype = _dtype(parts[1])
        if dtype.kind == "U":
            raise BadFrame("a structured array with text in it is refused")
        found.append((parts[0], dtype))
    try:
        return np.dtype(found)
    except ValueError as error:  # a name that comes twice
        raise BadFrame(f"a structured array has impossible fields: {str(error)[:80]}") from error


def _dtype(code: object) -> np.dtype:
    if not isinstance(code, str) or not _DTYPE.fullmatch(code):
        raise BadFrame(f"arrays of dtype {str(code)[:40]!r} are refused; only numbers and text are")
    return np.dtype(code)


def _shape(shape: object) -> tuple[int, ...]:
    if not isinstance(shape, list) or len(cast("list[object]", shape)) > MAX_DIMENSIONS:
        raise BadFrame(f"an array's shape is not a list of at most {MAX_DIMENSIONS} numbers")
    dimensions = cast("list[object]", shape)
    for size in dimensions:
        if type(size) is not int or not 0 <= size < 2**31:
            raise BadFrame(f"an array's shape holds {str(size)[:40]!r}, no usable length")
    return tuple(cast("list[int]", dimensions))


def _nothing_else(value: object) -> object:
    raise TypeError(f"{type(value).__name__} in an array's header")
