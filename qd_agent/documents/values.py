"""What stands at a declared path, and what it means: a number in our unit, a name, a run's uid."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import cast

from qd_agent.documents.events import scalar_readings
from qd_agent.documents.metadata_settings import UNITS, DeclaredPath

NUMBERS = ("wavelength", "monitor", "exposure", "temperature")
OTHER_RUNS = ("dark_run", "background_run")
QUANTITIES = (*NUMBERS, "sample", *OTHER_RUNS)
"""In the order in which what contradicts itself is told."""

MAX_SAMPLE_NAME = 200
MAX_UID = 128

LIMITS: Mapping[str, tuple[float, float]] = {
    "wavelength": (1e-4, 100.0),
    "monitor": (-1e300, 1e300),
    "exposure": (1e-9, 1e9),
    "temperature": (-273.15, 1e5),
}
"""What can be meant, in Å, counts, s and °C: an unplugged device often says 0 or -999."""

_UID = re.compile(rf"\w[\w.-]{{0,{MAX_UID - 1}}}", re.ASCII)
"""Uids that may be looked up; event-model asks for no form, all that is in use fits. None begins
with a dot: `..` would be another place in an archive's addresses."""


@dataclass(frozen=True, slots=True)
class Stated:
    """What the documents state at one path.

    Attributes:
        path: where.
        raw: the number as it stands there, in the path's unit; a text without what is unprintable.
        value: the number in Å, counts, s or °C; the same text.
    """

    path: DeclaredPath
    raw: float | str
    value: float | str


def stated_at(doc: Mapping[str, object], path: DeclaredPath, quantity: str) -> Stated | None:
    """Give what stands at a path; None where nothing does, or nothing that can be meant."""
    found = _at(doc, path)
    if quantity in NUMBERS:
        raw = scalar_readings({"": found}).get("")
    else:
        raw = _name(found) if quantity == "sample" else _uid(found)
    return taken_as(raw, path, quantity) if raw or isinstance(raw, float) else None


def taken_as(raw: float | str | None, path: DeclaredPath, quantity: str) -> Stated | None:
    """Give what stood at a path as it is meant; None when it cannot be."""
    if quantity not in NUMBERS:
        return Stated(path, raw, raw) if isinstance(raw, str) else None
    if not isinstance(raw, float):
        return None
    value = UNITS[quantity][path.unit](raw)
    low, high = LIMITS[quantity]
    return Stated(path, raw, value) if isfinite(value) and low <= value <= high else None


def _at(tree: object, path: DeclaredPath) -> object:
    """Give what stands at a path, None where nothing does (event-model has no dots in keys)."""
    for word in path.words:
        if not isinstance(tree, Mapping):
            return None
        tree = cast("Mapping[str, object]", tree).get(word)
    return tree


def _uid(value: object) -> str:
    """Give the uid of a run, '' when it is none."""
    return value if isinstance(value, str) and _UID.fullmatch(value) else ""


def _name(value: object) -> str:
    """Give a sample's name in one printable line, '' when it is none."""
    if not isinstance(value, str):
        return ""
    cut = value[:MAX_SAMPLE_NAME]
    return " ".join("".join(c if c.isprintable() else " " for c in cut).split())
