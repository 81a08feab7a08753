"""Manifests: a table beside the patterns that tells their truth. CSV, or JSON lines.

Columns: `file` (relative to the manifest; text, or an .npz of `augment`, then with `row`),
`diameter_nm` (number average; empty where there are no nanocrystals), and as far as known
`diameter_volume_nm`, `dispersion`, `share`, `counts`, `wavelength` (Å), `group`, `split`, `clean`.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from qd_agent.core.errors import BadFrame
from qd_agent.core.pattern import PUBLISHED_GRID, Pattern
from training.pattern_files import Truth, read_pattern, truth_of

MANIFEST_NAME = "manifest.csv"
SUFFIXES = (".csv", ".jsonl", ".ndjson")
COLUMNS = (
    "file", "row", "diameter_nm", "diameter_volume_nm", "dispersion", "share", "counts",
    "wavelength", "group", "split", "clean",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: where the pattern is and what is known of it; `row` is that of an .npz."""

    path: Path
    truth: Truth
    row: int | None = None
    volume_nm: float | None = None
    split: str = ""
    clean: str = ""

    @property
    def shown(self) -> Path:
        """Path as it is shown, with the row."""
        return self.path if self.row is None else Path(f"{self.path}:{self.row}")


def is_manifest(path: Path) -> bool:
    """A file whose name ends like that of a manifest."""
    return path.suffix in SUFFIXES and path.is_file()


def read_manifest(path: Path) -> list[Entry]:
    """Read a manifest.

    Raises:
        BadFrame: it cannot be read; the message names the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadFrame(f"{path}: cannot be read as a manifest: {error}") from error
    try:
        rows = _csv_rows(path, text) if path.suffix == ".csv" else _json_rows(path, text)
    except csv.Error as error:
        raise BadFrame(f"{path}: cannot be read as a manifest: {error}") from error
    return [_entry(path, line, row) for line, row in rows]


def _csv_rows(path: Path, text: str) -> list[tuple[int, Mapping[str, object]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True)
    if "file" not in (reader.fieldnames or ()):
        raise BadFrame(f"{path}: no column 'file' in its first line; a manifest starts with one")
    rows: list[tuple[int, Mapping[str, object]]] = []
    for row in reader:
        if None in row or None in row.values():
            raise BadFrame(f"{path}, line {reader.line_num}: not as many columns as the first line")
        rows.append((reader.line_num, dict(row)))
    return rows


def _json_rows(path: Path, text: str) -> list[tuple[int, Mapping[str, object]]]:
    rows: list[tuple[int, Mapping[str, object]]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise BadFrame(f"{path}, line {number}: not JSON: {error}") from error
        if not isinstance(row, dict):
            raise BadFrame(f"{path}, line {number}: not a JSON object")
        rows.append((number, row))
    return rows


def _entry(path: Path, line: int, row: Mapping[str, object]) -> Entry:
    unknown = sorted(set(row) - set(COLUMNS))
    if unknown:
        raise BadFrame(f"{path}, line {line}: unknown columns {', '.join(unknown)}")
    name = str(row.get("file") or "")
    if not name:
        raise BadFrame(f"{path}, line {line}: no file is named")

    def number(column: str) -> float | None:
        value = row.get(column)
        if value is None or value == "":
            return None
        try:
            found = float(str(value))
        except ValueError:
            found = float("nan")
        if not np.isfinite(found) or found < 0:
            raise BadFrame(f"{path}, line {line}: {column} is {value!r}, not a number of 0 or more")
        return found

    file = path.parent / name
    index = number("row")
    return Entry(
        path=file,
        truth=Truth(
            label_nm=number("diameter_nm"),
            dispersion=number("dispersion"),
            share=number("share"),
            wavelength=number("wavelength") or truth_of(file).wavelength,
            counts=number("counts"),
            group=str(row.get("group") or ""),
        ),
        row=None if index is None else int(index),
        volume_nm=number("diameter_volume_nm"),
        split=str(row.get("split") or ""),
        clean=str(row.get("clean") or ""),
    )


class EntryReader:
    """Reads entries' patterns; keeps the last .npz for its next row."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._arrays = (np.zeros((0, 0), np.float32), np.zeros((0, 0), np.uint8))

    def read(self, entry: Entry, wavelength: float | None = None) -> Pattern:
        """Read a pattern onto the published grid; `wavelength` (Å) when the entry names none.

        Raises:
            BadFrame, OSError: it cannot be read.
        """
        if entry.row is None and entry.path.suffix != ".npz":
            return read_pattern(entry.path, entry.truth.wavelength or wavelength)
        if entry.path != self._path:
            self._arrays, self._path = _arrays(entry.path), entry.path
        intensity, coverage = self._arrays
        row = entry.row or 0
        if row >= len(intensity):
            raise BadFrame(f"{entry.path}: has {len(intensity)} rows, not {row + 1}")
        values = intensity[row].astype(np.float64)
        return Pattern(values, np.zeros_like(values), coverage[row].astype(np.float64))


def _arrays(path: Path) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Patterns and coverage (n, 5004) of an .npz; objects in it are refused, never unpickled."""
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            intensity, coverage = file["intensity"], file["coverage"]
    except (ValueError, KeyError, zipfile.BadZipFile) as error:
        raise BadFrame(f"{path}: not an .npz with intensity and coverage: {error}") from error
    if intensity.ndim != 2 or intensity.shape[1] != PUBLISHED_GRID.size:
        raise BadFrame(f"{path}: intensity of shape {intensity.shape}, not (n, 5004)")
    if coverage.shape != intensity.shape:
        raise BadFrame(f"{path}: coverage of shape {coverage.shape}, not {intensity.shape}")
    return intensity, coverage


def write_manifest(path: Path, entries: Iterable[Entry]) -> None:
    """Write a CSV manifest; files are named relative to it."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for e in entries:
            t = e.truth
            values = (
                e.row, t.label_nm, e.volume_nm, t.dispersion, t.share, t.counts, t.wavelength
            )  # fmt: skip
            shown = ["" if v is None else f"{v:.6g}" for v in values]
            name = e.path.relative_to(path.parent) if e.path.is_absolute() else e.path
            writer.writerow([str(name), *shown, t.group, e.split, e.clean])
