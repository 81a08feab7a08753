"""Recordings: documents as they came, one JSON line each, in files that a crash cannot spoil.

A line holds `t` (UTC epoch s at which the document came), `name` and `doc`. An array of numbers
stands as {"$array": base64 of its form on the wire}, so that its dtype is kept. Nothing in a
recording is ever run.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from msgpack import ExtType
from msgpack.exceptions import UnpackException

from qd_agent.core.errors import BadFrame, Fatal, Mistake
from qd_agent.core.ports import Document
from qd_agent.documents.arrays import ARRAY_CODE, pack_array, unpack_array
from qd_agent.documents.wire import NAMES

LONGEST_LINE = 1 << 28
"""Bytes; an image of 64 million pixels takes less."""
SYNC_EVERY_S = 1.0
"""The disk is waited for this often, and at the end; every line is handed to the system at once."""
_ARRAY = "$array"


class Recorded(NamedTuple):
    """A document of a recording, and when it came (UTC epoch s)."""

    time: float
    document: Document


class Recorder:
    """Appends documents to a file, and goes on in a new one when it is large.

    The files are `runs.jsonl`, `runs.0001.jsonl`, `runs.0002.jsonl` ... A line that an earlier
    process has left unfinished is cut off first.

    Args:
        path: the first file; made when missing, with its folder.
        rotate_bytes: a file is not added to beyond this size.

    Raises:
        Fatal: it cannot be written.
    """

    def __init__(self, path: Path, rotate_bytes: int = 1 << 30) -> None:
        self._first, self._rotate_bytes = path, rotate_bytes
        self._synced = time.monotonic()
        self.written = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            latest = [path, *_following(path)][-1]
            _cut_unfinished(latest)
            self._path, self._file = latest, latest.open("ab")
        except OSError as error:
            raise Fatal(f"the recording {path} cannot be written: {error.strerror}") from error

    def add(self, name: str, doc: Mapping[str, object]) -> None:
        """Append one document.

        Raises:
            Fatal: the disk is full, or gone.
            BadFrame: the document cannot be written down; nothing was.
        """
        try:
            line = json.dumps({"t": time.time(), "name": name, "doc": doc}, default=_plain)
        except (TypeError, ValueError, RecursionError) as error:
            raise BadFrame(f"{name} document cannot be recorded: {error}") from error
        try:
            if self._file.tell() > self._rotate_bytes:
                self._rotate()
            self._file.write(line.encode() + b"\n")
            self._file.flush()
            if time.monotonic() - self._synced > SYNC_EVERY_S:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()
        except OSError as error:
            raise Fatal(f"the recording {self._path} cannot go on: {error.strerror}") from error
        self.written += 1

    def close(self) -> None:
        """Finish; what was added is on the disk then."""
        if not self._file.closed:
            os.fsync(self._file.fileno())
            self._file.close()

    def _rotate(self) -> None:
        self.close()
        number = len(_following(self._first)) + 1
        self._path = self._first.with_suffix(f".{number:04d}{self._first.suffix}")
        self._file = self._path.open("ab")


def read_recording(path: Path) -> Iterator[Recorded]:
    """Give the documents of a recording, in order, of its following files too.

    An unfinished last line is left out, as a recorder that is still at work, or was killed, leaves
    it.

    Raises:
        Mistake: no such file, or a line that is none of a recording; it is named.
    """
    if not path.is_file():
        raise Mistake(f"{path}: no such recording")
    for file in (path, *_following(path)):
        yield from _lines(file)


def _lines(path: Path) -> Iterator[Recorded]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE), b""), start=1):
                if line.endswith(b"\n"):
                    yield _read(path, number, line)
                elif len(line) >= LONGEST_LINE:
                    raise Mistake(f"{path}:{number}: a line of more than {LONGEST_LINE} bytes")
    except OSError as error:
        raise Mistake(f"{path}: cannot be read: {error.strerror}") from error


def _read(path: Path, number: int, line: bytes) -> Recorded:
    try:
        found = json.loads(line, object_hook=_array)
    except (ValueError, RecursionError, BadFrame) as error:
        reason = " ".join(str(error).split())[:100]
        raise Mistake(f"{path}:{number}: no line of a recording: {reason}") from error
    content = cast("dict[str, object]", found) if isinstance(found, dict) else {}
    name, doc, when = content.get("name"), content.get("doc"), content.get("t", 0.0)
    if name not in NAMES or not isinstance(doc, dict) or not isinstance(when, int | float):
        raise Mistake(f"{path}:{number}: no line of a recording: it needs t, name and doc")
    return Recorded(float(when), (str(name), cast("dict[str, object]", doc)))


def _following(path: Path) -> list[Path]:
    """Give the files that go on with a recording, in order."""
    return sorted(path.parent.glob(f"{path.stem}.[0-9][0-9][0-9][0-9]{path.suffix}"))


def _cut_unfinished(path: Path) -> None:
    if not path.exists():
        return
    with path.open("r+b") as file:
        end = at = file.seek(0, os.SEEK_END)
        while at > 0:
            start = max(0, at - (1 << 16))
            file.seek(start)
            newline = file.read(at - start).rfind(b"\n")
            if newline >= 0:
                at = start + newline + 1
                break
            at = start
        if at < end:
            file.truncate(at)


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray):
        packed = pack_array(value)
        if isinstance(packed, ExtType):
            return {_ARRAY: base64.b64encode(packed.data).decode()}
        return packed
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, os.PathLike):
        return os.fspath(cast("os.PathLike[str]", value))
    raise TypeError(f"a {type(value).__name__} has no place in a document")


def _array(found: dict[str, object]) -> object:
    packed = found.get(_ARRAY)
    if len(found) != 1 or not isinstance(packed, str):
        return found
    try:
        return unpack_array(ARRAY_CODE, base64.b64decode(packed, validate=True))
    except (binascii.Error, UnpackException) as error:
        raise BadFrame(f"an array of it is none: {error}") from error
