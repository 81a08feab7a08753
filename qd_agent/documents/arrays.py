"""Arrays on the wire: the msgpack extension type 42.

Its payload is msgpack of `(dtype.str, shape)` followed by the raw bytes in C order.
"""

from __future__ import annotations

import math
import re
from typing import cast

import numpy as np
from msgpack import ExtType

from qd_agent.core.errors import BadFrame
from qd_agent.documents import _msgpack

ARRAY_CODE = 42
MAX_DIMENSIONS = 8
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
    dtype = _dtype(dtype_code)
    dimensions = _shape(shape)
    count = math.prod(dimensions)
    if count * dtype.itemsize != len(payload) - length:
        raise BadFrame(
            f"an array of shape {dimensions} and dtype {dtype.str} needs {count * dtype.itemsize} "
            f"bytes, {len(payload) - length} came"
        )
    if count == 0 or dtype.itemsize == 0:
        array = np.zeros(dimensions, dtype)
    else:
        array = np.frombuffer(payload, dtype, offset=length).reshape(dimensions)
    if dtype.kind != "U":
        return array
    # numpy fails hard on text beyond Unicode instead of refusing it.
    if (array.reshape(-1).view(dtype.str[0] + "u4") > LAST_CODE_POINT).any():
        raise BadFrame("a text array holds characters beyond Unicode")
    return array.tolist()


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
