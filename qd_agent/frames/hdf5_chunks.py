"""Looks at compressed chunks before HDF5 inflates them, so that none grows beyond what it declares.

HDF5's own filters make room for whatever comes out: three megabytes of a gzip chunk may become
three gigabytes, and the frame is then taken for good. What a chunk says of itself is read here
first; what says nothing (gzip, bzip2) is inflated once, up to the limit.
"""

from __future__ import annotations

import bz2
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import product

import h5py
import h5py.h5z

from qd_agent.core.errors import BadFrame, Unavailable

MAX_CHUNKS = 1 << 16
"""Most chunks that one frame may be cut into."""
SLACK_BYTES = 1 << 16
"""What a filter may add to data that it cannot compress, besides an eighth of it."""

_BZIP2, _LZF, _BLOSC, _LZ4, _BITSHUFFLE, _ZSTD = 307, 32000, 32001, 32004, 32008, 32015
"""Numbers of filters, as registered with the HDF Group."""
_KEEP_SIZE = frozenset(
    {h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_NBIT,
     h5py.h5z.FILTER_SCALEOFFSET}
)  # fmt: skip
"""Filters whose output is as large as the dataset's own type says."""


def check_chunks(dataset: h5py.Dataset, row: Sequence[int], max_bytes: int) -> None:
    """Refuse a frame whose chunks are, or would become, larger than they declare or than allowed.

    Args:
        dataset: chunked or not.
        row: index of the frame along the axes before its own.
        max_bytes: most bytes that a chunk may become.

    Raises:
        BadFrame: too large, or compressed so that nothing tells how large it becomes.
    """
    chunks = dataset.chunks
    if chunks is None:
        return
    declared = math.prod(chunks) * dataset.dtype.itemsize
    if declared > max_bytes:
        raise BadFrame(
            f"dataset {dataset.name!r} has chunks of {chunks}, {declared} bytes; "
            f"frames.max_chunk_bytes = {max_bytes}"
        )
    found = _compression(dataset)
    if found is None:
        return
    place, sized = found
    for offset in _offsets(dataset.shape, chunks, row):
        _check_one(dataset, offset, declared, place, sized)


def check_written(dataset: h5py.Dataset, row: Sequence[int]) -> None:
    """Refuse for now a frame of a live file that has its place there, and not all of its pixels.

    A writer makes the dataset longer first; what it has not written yet reads as zeros.

    Args:
        dataset: chunked or not; of one that is not, nothing can be told.
        row: index of the frame along the axes before its own.

    Raises:
        Unavailable: one of its chunks is not in the file.
    """
    if dataset.chunks is None:
        return
    for offset in _offsets(dataset.shape, dataset.chunks, row):
        if dataset.id.get_chunk_info_by_coord(offset).byte_offset is None:
            raise Unavailable(f"row {row[0]} of dataset {dataset.name!r} is not written yet")


def written_rows(dataset: h5py.Dataset) -> int:
    """Count the rows up to the last one that is in the file.

    Many writers make a dataset as long as the scan is to be, before its first frame.

    Raises:
        Unavailable: it is not chunked, and so was made with its length, or has too many chunks.
    """
    shape, chunks = dataset.shape, dataset.chunks
    if chunks is None:
        grows = dataset.maxshape is not None and dataset.maxshape[0] is None
        if dataset.is_virtual and grows:  # as long as its sources are
            return int(shape[0])
        raise Unavailable(
            f"dataset {dataset.name!r} has had its length from the start; it does not tell how "
            "many frames were taken"
        )
    beyond = (0,) * (len(shape) - 1)
    last = (int(shape[0]) - 1) // chunks[0]
    for chunk in range(last, max(-1, last - MAX_CHUNKS), -1):
        if dataset.id.get_chunk_info_by_coord((chunk * chunks[0], *beyond)).byte_offset is not None:
            return min(int(shape[0]), (chunk + 1) * chunks[0])
    if last >= MAX_CHUNKS:
        raise Unavailable(f"of dataset {dataset.name!r} more than {MAX_CHUNKS} chunks are empty")
    return 0


def is_in_last_chunk(dataset: h5py.Dataset, row: Sequence[int]) -> bool:
    """Tell whether a frame shares the dataset's last chunk, which a writer fills bit by bit."""
    chunks, shape = dataset.chunks, dataset.shape
    if chunks is None or math.prod(chunks[: len(row)]) == 1:
        return False
    return row[0] // chunks[0] == (shape[0] - 1) // chunks[0]


def _compression(dataset: h5py.Dataset) -> tuple[int, Callable[[bytes, int], int]] | None:
    """Give place in the pipeline and way of measuring of the one filter that compresses."""
    plist = dataset.id.get_create_plist()
    found: tuple[int, Callable[[bytes, int], int]] | None = None
    for place in range(plist.get_nfilters()):
        code, _, options, _ = plist.get_filter(place)
        if code in _KEEP_SIZE or (code == _BITSHUFFLE and not _packs(options)):
            continue
        if found is not None or code not in _MEASURES:
            raise BadFrame(
                f"dataset {dataset.name!r} is compressed with filter {code}, of which it cannot be "
                "told beforehand how large a frame becomes"
            )
        found = place, _MEASURES[code]
    return found


def _packs(options: Sequence[int]) -> bool:
    """Tell whether bitshuffle's options ask for compression (2: LZ4, 3: zstd)."""
    return len(options) > 4 and options[4] != 0


def _offsets(
    shape: Sequence[int], chunks: Sequence[int], row: Sequence[int]
) -> Iterator[tuple[int, ...]]:
    before = len(row)
    along = [range(0, n, size) for n, size in zip(shape[before:], chunks[before:], strict=True)]
    pieces = math.prod(map(len, along))
    if pieces > MAX_CHUNKS:
        raise BadFrame(f"the frame is cut into {pieces} chunks, too many to read")
    above = tuple(at // size * size for at, size in zip(row, chunks[:before], strict=True))
    for within in product(*along):
        yield (*above, *within)


def _check_one(
    dataset: h5py.Dataset,
    offset: tuple[int, ...],
    declared: int,
    place: int,
    measure: Callable[[bytes, int], int],
) -> None:
    stored = dataset.id.get_chunk_info_by_coord(offset)
    if stored.byte_offset is None:  # never written: the fill value
        return
    size = stored.size
    if size <= declared + declared // 8 + SLACK_BYTES:
        mask, raw = dataset.id.read_direct_chunk(offset)
        skipped = mask >> place & 1
        size = len(raw) if skipped else measure(raw, declared)
    if size > declared:
        raise BadFrame(
            f"a chunk of dataset {dataset.name!r} would become {size} bytes or more, it declares "
            f"{declared}"
        )


def _inflated(raw: bytes, limit: int) -> int:
    try:
        return len(zlib.decompressobj().decompress(raw, limit + 1))
    except zlib.error as error:
        raise BadFrame(f"a chunk cannot be inflated: {error}") from error


def _unzipped(raw: bytes, limit: int) -> int:
    try:
        return len(bz2.BZ2Decompressor().decompress(raw, limit + 1))
    except OSError as error:
        raise BadFrame(f"a chunk cannot be decompressed: {error}") from error


def _zstd_content(raw: bytes, limit: int) -> int:
    """Content size in the header of a zstd frame (RFC 8878, 3.1.1.1); HDF5 needs it there too."""
    flags = raw[4] if len(raw) > 4 else 0
    single, dictionary = flags >> 5 & 1, (0, 1, 2, 4)[flags & 3]
    length = (1 if single else 0, 2, 4, 8)[flags >> 6]
    start = 5 + (0 if single else 1) + dictionary
    field = raw[start : start + length]
    if raw[:4] != b"\x28\xb5\x2f\xfd" or not length or len(field) < length:
        return limit + 1
    return int.from_bytes(field, "little") + (256 if length == 2 else 0)


def _big_endian(raw: bytes, _: int) -> int:
    return int.from_bytes(raw[:8], "big")


def _blosc_header(raw: bytes, _: int) -> int:
    return int.from_bytes(raw[4:8], "little")


def _szip_header(raw: bytes, _: int) -> int:
    return int.from_bytes(raw[:4], "little")


def _lzf(raw: bytes, limit: int) -> int:
    """LZF has no header; it gives at most 264 bytes for three."""
    return min(limit, 88 * len(raw))


_MEASURES: dict[int, Callable[[bytes, int], int]] = {
    h5py.h5z.FILTER_DEFLATE: _inflated,
    h5py.h5z.FILTER_SZIP: _szip_header,
    _BZIP2: _unzipped,
    _LZF: _lzf,
    _BLOSC: _blosc_header,
    _LZ4: _big_endian,
    _BITSHUFFLE: _big_endian,
    _ZSTD: _zstd_content,
}
