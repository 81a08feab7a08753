"""Recorded one-dimensional patterns as a scan's raw material."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from simulated_beamline.errors import BeamlineError
from simulated_beamline.sample import QAxis
from simulated_beamline.scenes import NamedPattern

Float = npt.NDArray[np.float64]

UNITS = ("2th_deg", "q_A^-1", "q_nm^-1")
"""Units of a pattern's first column, as pyFAI names them."""

PATTERN_SUFFIXES = (".xy", ".xye")
MANIFESTS = ("manifest.json", "manifest.yaml", "manifest.yml")

_WAVELENGTH_IN_NAME = re.compile(r"(?:^|_)wl(\d+(?:[p.]\d+)?)A?(?=_|\.|$)")


def read_patterns(
    folder: Path, axis: QAxis, unit: str, wavelength: float | None
) -> list[NamedPattern]:
    """Read every .xy and .xye file of a folder, in the order of their names.

    Args:
        folder: where they are.
        axis: Q axis to bring them onto.
        unit: of the first column, one of `UNITS`.
        wavelength: Å; None means the folder's manifest, else the file's name, says it.

    Raises:
        BeamlineError: no such files, a wavelength is not known, or a file is not a pattern.
    """
    if unit not in UNITS:
        raise BeamlineError(f"unit {unit!r} is not one of {', '.join(UNITS)}")
    if not folder.is_dir():
        raise BeamlineError(f"{folder} is not a folder")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in PATTERN_SUFFIXES)
    if not paths:
        raise BeamlineError(f"{folder} holds no .xy or .xye file")
    if wavelength is not None:
        _check_wavelength(wavelength, "--wavelength")
    manifest = _manifest(folder)
    patterns: list[NamedPattern] = []
    for path in paths:
        x, intensity = read_columns(path)
        if unit == "2th_deg":
            known = wavelength if wavelength is not None else _wavelength_of(path, manifest)
            x = 4.0 * np.pi * np.sin(np.radians(x) / 2.0) / known
        elif unit == "q_nm^-1":
            x = x / 10.0
        patterns.append(_on_axis(path, x, intensity, axis))
    return patterns


def read_columns(path: Path) -> tuple[Float, Float]:
    """Read the first two columns of a text file; lines that begin with '#' are skipped.

    Raises:
        BeamlineError: a line is no pair of finite numbers, or the first column does not increase;
            the message names file and line.
    """
    rows: list[tuple[float, float]] = []
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise BeamlineError(f"{path} cannot be read: {error.strerror}") from None
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split("#", 1)[0].replace(",", " ").split()
        if not words:
            continue
        try:
            x, intensity = float(words[0]), float(words[1])
        except (ValueError, IndexError):
            raise BeamlineError(
                f"{path}, line {number}: two or three numbers are wanted, not {line.strip()[:60]!r}"
            ) from None
        if not (np.isfinite(x) and np.isfinite(intensity)):
            raise BeamlineError(f"{path}, line {number}: {line.strip()[:60]!r} is not finite")
        if rows and x <= rows[-1][0]:
            raise BeamlineError(
                f"{path}, line {number}: the first column goes from {rows[-1][0]:g} to {x:g}; "
                "it must increase"
            )
        rows.append((x, intensity))
    if len(rows) < 2:
        raise BeamlineError(f"{path} holds fewer than two points")
    table = np.asarray(rows, dtype=np.float64)
    return table[:, 0], table[:, 1]


def wavelength_in_name(name: str) -> float | None:
    """Wavelength that a file's name states, Å: 'wl0p56371210A' is 0.5637121; else None."""
    found = _WAVELENGTH_IN_NAME.search(name)
    return float(found.group(1).replace("p", ".")) if found else None


def _manifest(folder: Path) -> Mapping[str, Any]:
    for name in MANIFESTS:
        path = folder / name
        if path.is_file():
            return _parsed_manifest(path)
    return {}


def _parsed_manifest(path: Path) -> Mapping[str, Any]:
    text = path.read_text(encoding="utf-8")
    try:
        parsed: Any = json.loads(text) if path.suffix == ".json" else YAML(typ="safe").load(text)
    except (ValueError, YAMLError) as error:
        raise BeamlineError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(parsed, dict):
        raise BeamlineError(f"{path} must map file names to {{wavelength: ...}}")
    return cast("dict[str, Any]", parsed)


def _wavelength_of(path: Path, manifest: Mapping[str, Any]) -> float:
    entry = manifest.get(path.name)
    if isinstance(entry, dict):
        entry = cast("dict[str, Any]", entry).get("wavelength")
    if isinstance(entry, int | float) and not isinstance(entry, bool):
        return _check_wavelength(float(entry), f"the manifest's entry for {path.name}")
    named = wavelength_in_name(path.name)
    if named is None:
        raise BeamlineError(
            f"the wavelength of {path.name} is not known; give --wavelength, a manifest.json "
            '({"file": {"wavelength": 1.5406}}) or a name such as x_wl1p5406_y.xy'
        )
    return _check_wavelength(named, f"the name {path.name}")


def _check_wavelength(wavelength: float, source: str) -> float:
    if not 0.01 <= wavelength <= 10.0:
        raise BeamlineError(f"{source}: a wavelength of {wavelength:g} Å is outside 0.01 to 10")
    return wavelength


def _on_axis(path: Path, q: Float, intensity: Float, axis: QAxis) -> NamedPattern:
    """Bring a pattern onto the axis, cell by cell where it is finer than the axis."""
    target = axis.values()
    first, last = float(q[0]), float(q[-1])
    inside = (target >= first) & (target <= last)
    if np.count_nonzero(inside) < 2:
        raise BeamlineError(
            f"{path} covers Q = {first:.3g} to {last:.3g} 1/Å, the detector "
            f"{target[0]:.3g} to {target[-1]:.3g}; check unit and wavelength"
        )
    cell = np.rint((q - axis.start) / axis.step).astype(np.int64)
    _, which = np.unique(cell, return_inverse=True)
    points = np.bincount(which)
    centres = np.bincount(which, weights=q) / points
    means = np.bincount(which, weights=np.maximum(intensity, 0.0)) / points
    values = np.interp(target, centres, means)
    mean = float(values[inside].mean())
    if not mean > 0.0:
        raise BeamlineError(f"{path} has no positive intensity within the detector's Q range")
    return NamedPattern(path.name, values / mean, _blank_ranges(q, axis.step))


def _blank_ranges(q: Float, usual: float) -> tuple[tuple[float, float], ...]:
    """Ranges without data: outside, and where a step is wider than `usual` and five usual ones."""
    steps = np.diff(q)
    wide = np.flatnonzero(steps > max(5.0 * float(np.median(steps)), usual))
    holes = [(float(q[i]), float(q[i + 1])) for i in wide]
    return ((-np.inf, float(q[0])), *holes, (float(q[-1]), np.inf))
