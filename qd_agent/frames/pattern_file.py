"""Recorded one-dimensional patterns in text files (.xy, .xye, .dat, .chi, .cal, .csv)."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from qd_agent.core.errors import BadFrame
from qd_agent.core.pattern import PUBLISHED_GRID, RawPattern, q_from_two_theta

Unit = Literal["2th_deg", "q_A^-1", "q_nm^-1"]
Float = npt.NDArray[np.float64]

LARGEST_FILE = 64 * 2**20
"""Bytes; a pattern of 33,000 points takes 2.5 MB."""

WAVELENGTHS = (0.01, 10.0)
"""Å; outside this range the number was meant in another unit."""

_COMMENT = ("#", "!", ";", "'")
_SPECIAL = re.compile(r"[#!;,]")
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0e-\x1f\x7f]")
_NAMED_WAVELENGTH = re.compile(r"(?<![A-Za-z0-9])wl(\d{1,2})[p.](\d{1,12})(?!\d)", re.IGNORECASE)

_Row = tuple[int, str]
"""Line number, from 1, and the line, its columns separated by blanks."""


def read_pattern(path: Path, unit: Unit = "2th_deg", wavelength: float | None = None) -> RawPattern:
    """Read a text file of the columns x, intensity and, if there, its standard uncertainty.

    Lines that start with # ! ; or ' are comments; lines of words before the first number are a
    header. Columns are separated by blanks, tabs, commas or semicolons (with semicolons, a comma
    is a decimal point). A file of one column is an intensity on the published grid, as DebUsSy
    writes it (.cal), whatever the unit.

    Args:
        path: the file.
        unit: of x: 2θ in degrees, or Q in 1/Å or 1/nm.
        wavelength: Å; needed for 2θ.

    Returns:
        Pattern on the file's own points, Q in 1/Å; shape (n,) each.

    Raises:
        BadFrame: one line that names the file, the line in it, and what is wrong.
    """
    if wavelength is not None:
        _check_wavelength(path, wavelength)
    numbers, table = _table(path)
    if table.shape[1] == 1:
        return _on_published_grid(path, table[:, 0])
    if unit == "2th_deg" and wavelength is None:
        raise BadFrame(
            f"{shown(path)}: the columns are read as 2θ and intensity, which needs the wavelength; "
            "give it with --wavelength (in Å), or say --unit q_A^-1"
        )
    if len(table) < 2:
        raise BadFrame(f"{shown(path)}: a pattern needs at least two points, here is one")
    _check_columns(path, unit, numbers, table)
    sigma = table[:, 2].copy() if table.shape[1] == 3 else None
    return RawPattern(_to_q(table[:, 0], unit, wavelength), table[:, 1].copy(), sigma)


def wavelength_from_name(path: Path) -> float | None:
    """Give the wavelength in Å that a file name carries, as in 'wl0p56371210A' ('p' = point)."""
    found = _NAMED_WAVELENGTH.search(path.name)
    if found is None:
        return None
    wavelength = float(f"{found[1]}.{found[2]}")
    return wavelength if WAVELENGTHS[0] <= wavelength <= WAVELENGTHS[1] else None


def shown(path: Path) -> str:
    """Give the path as it may stand in a one-line message."""
    text = str(path)
    return text if text.isprintable() else ascii(text)


def _check_wavelength(path: Path, wavelength: float) -> None:
    if not (math.isfinite(wavelength) and WAVELENGTHS[0] <= wavelength <= WAVELENGTHS[1]):
        raise BadFrame(
            f"{shown(path)}: a wavelength of {wavelength:g} Å is not between {WAVELENGTHS[0]:g} "
            f"and {WAVELENGTHS[1]:g} Å; give it in Å"
        )


def _to_q(x: Float, unit: Unit, wavelength: float | None) -> Float:
    if unit == "2th_deg" and wavelength is not None:
        return q_from_two_theta(x, wavelength)
    return x / 10.0 if unit == "q_nm^-1" else x.copy()


def _on_published_grid(path: Path, intensity: Float) -> RawPattern:
    if len(intensity) != PUBLISHED_GRID.size:
        raise BadFrame(
            f"{shown(path)}: one column of {len(intensity)} values; a file without Q or 2θ must "
            f"have the {PUBLISHED_GRID.size} points of the published grid"
        )
    return RawPattern(PUBLISHED_GRID.values(), intensity.copy())


def _check_columns(path: Path, unit: Unit, numbers: list[int], table: Float) -> None:
    x = table[:, 0]
    back = np.flatnonzero(x[1:] <= x[:-1])  # a difference of huge numbers would overflow
    if back.size:
        first = int(back[0]) + 1
        raise BadFrame(
            f"{shown(path)}: line {numbers[first]}: x = {x[first]:.9g} does not exceed the "
            f"{x[first - 1]:.9g} before it; x must increase from line to line"
        )
    if unit == "2th_deg" and (x[-1] > 180.0 or x[0] < -180.0):
        line = numbers[-1] if x[-1] > 180.0 else numbers[0]
        value = x[-1] if x[-1] > 180.0 else x[0]
        raise BadFrame(
            f"{shown(path)}: line {line}: 2θ = {value:.6g}° is beyond 180°; is x a Q? (--unit)"
        )
    if table.shape[1] == 3 and (table[:, 2] < 0).any():
        line = numbers[int(np.argmax(table[:, 2] < 0))]
        raise BadFrame(f"{shown(path)}: line {line}: the third column, the esd, is negative")


def _table(path: Path) -> tuple[list[int], Float]:
    """Give (line number of each row, numbers of shape (rows, 1 to 3))."""
    rows = _rows(_text(path))
    if len(rows) > 1 and len(rows[0][1].split()) == 1 < len(rows[1][1].split()):
        rows = rows[1:]  # Fit2D's .chi states the number of points on a line of its own
    if not rows:
        raise BadFrame(f"{shown(path)}: no line of numbers in it")
    values = _quickly([row for _, row in rows])
    if values is None:
        values = _carefully(path, rows)
    if values.shape[1] > 3:
        raise BadFrame(
            f"{shown(path)}: line {rows[0][0]}: {values.shape[1]} columns; expected x, intensity "
            "and, if known, its esd"
        )
    return [line for line, _ in rows], values


def _quickly(rows: list[str]) -> Float | None:
    """Read a clean table; None when anything in it is odd."""
    try:
        values = np.loadtxt(rows, dtype=np.float64, comments=None, ndmin=2)
    except ValueError:
        return None
    return values if np.isfinite(values).all() else None


def _carefully(path: Path, rows: list[_Row]) -> Float:
    """Read a table word by word, to name the line that is wrong."""
    width = len(rows[0][1].split())
    values: list[float] = []
    for line, row in rows:
        words = row.split()
        for word in words:
            if not _is_finite(word):
                raise BadFrame(f"{shown(path)}: line {line}: {word[:30]!a} is not a finite number")
        if len(words) != width:
            raise BadFrame(
                f"{shown(path)}: line {line}: {len(words)} columns, the lines before have {width}"
            )
        values.extend(map(_number, words))
    return np.array(values).reshape(len(rows), width)


def _number(word: str) -> float:
    """Read one number. float() also takes '1_0' and digits of other scripts; Fortran writes 1D-2.

    Raises:
        ValueError: it is none.
    """
    try:
        value = float(word)
    except ValueError:
        return float(word.replace("D", "E").replace("d", "e"))
    if "_" in word or not word.isascii():
        raise ValueError(word)
    return value


def _is_finite(word: str) -> bool:
    try:
        return math.isfinite(_number(word))
    except ValueError:
        return False


def _is_number(word: str) -> bool:
    try:
        _number(word)
    except ValueError:
        return False
    return True


def _rows(text: str) -> list[_Row]:
    """Give the lines of numbers; the words before the first of them are a header."""
    rows: list[_Row] = []
    for line, content in enumerate(text.split("\n"), start=1):
        row = content.strip()
        if not row or row.startswith(_COMMENT):
            continue
        if _SPECIAL.search(row):
            row = _with_blanks(row)
        if row and (rows or _is_number(row.split(maxsplit=1)[0])):
            rows.append((line, row))
    return rows


def _with_blanks(row: str) -> str:
    """Cut the trailing comment and separate the columns by blanks."""
    row = row.partition("#")[0].partition("!")[0]
    row = row.replace(",", ".").replace(";", " ") if ";" in row else row.replace(",", " ")
    return row.strip()


def _text(path: Path) -> str:
    """Read the file as text with '\\n' line ends."""
    try:
        if not path.exists():
            raise BadFrame(f"{shown(path)}: no such file")
        if not path.is_file():
            raise BadFrame(f"{shown(path)}: not a plain file")
        if path.stat().st_size > LARGEST_FILE:
            raise BadFrame(f"{shown(path)}: larger than {LARGEST_FILE} bytes, not a pattern")
        content = path.read_bytes().rstrip(b"\x1a")  # DOS ends text with it
    except (OSError, ValueError) as error:
        raise BadFrame(f"{shown(path)}: cannot be read ({type(error).__name__})") from error
    if not content.strip():
        raise BadFrame(f"{shown(path)}: the file is empty")
    if _CONTROL.search(content):
        raise BadFrame(f"{shown(path)}: binary, not a text file of columns")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n")
