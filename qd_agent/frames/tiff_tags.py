"""Looks at the directories of a TIFF file before a library takes them at their word.

A directory may name itself as the next one, and a tag may hold a billion numbers, each of which
becomes an object of Python. Here the directories up to the wanted page are walked with limits; what
they hold is left to tifffile. Layout: TIFF 6.0, section 2, and BigTIFF.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from qd_agent.core.errors import BadFrame, Unavailable

MAX_TAGS = 512
"""Most tags of one page; real ones have a few tens."""
MAX_TAG_BYTES = 1 << 20
"""Most bytes that the value of a tag may take: 131,072 strips, or a long description."""
MAX_PAGES = 1 << 20

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4,
          16: 8, 17: 8, 18: 8}  # fmt: skip
"""Bytes of one value by the type of a tag."""


@dataclass(frozen=True, slots=True)
class _Form:
    """How numbers are written in this file."""

    count: struct.Struct
    entry: struct.Struct
    offset: struct.Struct


_FORMS = {
    order + version: _Form(
        struct.Struct(sign + count), struct.Struct(sign + entry), struct.Struct(sign + offset)
    )
    for order, sign in ((b"II", "<"), (b"MM", ">"))
    for version, count, entry, offset in (
        (struct.pack(sign + "H", 42), "H", "HHI4x", "I"),
        (struct.pack(sign + "H", 43), "Q", "HHQ8x", "Q"),
    )
}


def check_tags(file: BinaryIO, size: int, page: int) -> None:
    """Refuse a file whose pages, up to `page`, are not what a detector's are.

    Args:
        file: open for reading, at any place.
        size: of the file, bytes.
        page: the wanted page, from 0.

    Raises:
        Unavailable: it ends before it is complete; it may still be being written.
        BadFrame: no TIFF, a directory that comes twice, or more than any detector writes.
    """
    start = _read(file, 0, 16, size, least=8)
    form = _FORMS.get(start[:4])
    if form is None:
        raise BadFrame(f"it begins with {start[:4]!r}, not like a TIFF file")
    if page >= MAX_PAGES:
        raise BadFrame(f"page {page} is beyond any that is read")
    at = form.offset.unpack_from(start, 8 if form.offset.size == 8 else 4)[0]
    seen: set[int] = set()
    for number in range(page + 1):
        if at == 0 and number == 0:  # a writer fills it in last
            raise Unavailable("it has no page yet")
        if at == 0:
            raise Unavailable(f"it holds {number} pages, this is page {page} counted from 0")
        if at in seen:
            raise BadFrame("its pages lead back to an earlier one")
        seen.add(at)
        at = _check_page(file, at, size, form)


def _check_page(file: BinaryIO, at: int, size: int, form: _Form) -> int:
    """Check one directory; give where the next one is."""
    count = form.count.unpack(_read(file, at, form.count.size, size))[0]
    if not 1 <= count <= MAX_TAGS:
        raise BadFrame(f"one of its pages has {count} tags")
    length = count * form.entry.size
    body = _read(file, at + form.count.size, length + form.offset.size, size)
    for _, kind, number in form.entry.iter_unpack(body[:length]):
        if number * _SIZES.get(kind, 1) > MAX_TAG_BYTES:
            raise BadFrame(f"a tag of it holds {number} values")
    return int(form.offset.unpack_from(body, length)[0])


def _read(file: BinaryIO, at: int, length: int, size: int, least: int | None = None) -> bytes:
    needed = length if least is None else least
    if at + needed > size:
        raise Unavailable(f"it ends after {size} bytes, before it is complete")
    file.seek(at)
    return file.read(length)
