"""Wavelengths that contradict each other: said in a sentence, and judged anew once put right."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from qd_agent.core.frame import Declared
from qd_agent.documents.metadata_settings import UNITS, DeclaredPath, MetadataSettings, read_path

Stated = tuple[DeclaredPath, float]
"""A path, and the wavelength there, Å."""

LIMITS = 1e-4, 100.0
"""What can be meant, Å."""

_USUAL = next(iter(UNITS["wavelength"]))
_END = ": they differ by more than"
_STATED = re.compile(r"(\S+) Å in (\S+)(?: \((\S+)\))?")


def conflict_of(found: Sequence[Stated], tolerance: float) -> str:
    """Name the wavelengths, the two first that disagree most, when they do; '' when all agree."""
    low = min(found, key=lambda one: one[1])
    high = max(found, key=lambda one: one[1])
    if high[1] <= low[1] * (1.0 + tolerance):
        return ""
    first, second = sorted((low, high), key=found.index)
    others = "".join(f" and {_shown(one)}" for one in found if one not in (first, second))
    return (
        f"the wavelength is {_shown(first)} but {_shown(second)}{others}{_END} "
        f"{tolerance:.3g} of it, so no size is given; correct one of them"
    )


def look_again(declared: Declared, settings: MetadataSettings) -> Declared:
    """Judge the wavelengths of a frame, which may contradict each other, by the settings of now.

    What counts is what the documents said then (of several, to the six digits of the sentence): a
    path that is not declared any more says nothing, a unit that was corrected is applied.
    """
    said = {place: _raw(value, unit or _USUAL) for value, place, unit in _stated(declared)}
    if not said:
        return declared
    paths = [read_path(path, "wavelength") for path in settings.wavelength]
    found = [
        (path, wavelength)
        for path in paths
        if path.text in said
        for wavelength in [UNITS["wavelength"][path.unit](said[path.text])]
        if LIMITS[0] <= wavelength <= LIMITS[1]
    ]
    values = {name: value for name, value in declared.values.items() if name != "wavelength"}
    if not found:
        missing = ("wavelength_missing",) if paths else ()
        flags = (*missing, *declared.flags)
        return replace(declared, values=values, wavelength_place="", conflict="", flags=flags)
    first, wavelength = found[0]
    if not declared.conflict and place_of(first) == declared.wavelength_place:
        return declared
    return replace(
        declared,
        values={"wavelength": wavelength, **values},
        wavelength_place=place_of(first),
        conflict=conflict_of(found, settings.wavelength_tolerance),
    )


def place_of(path: DeclaredPath) -> str:
    """Say where a wavelength stands, and in which unit it is taken, where that is not the usual."""
    return path.text if path.unit == _USUAL else f"{path.text} ({path.unit})"


def _shown(stated: Stated) -> str:
    path, value = stated
    return f"{value:.6g} Å in {place_of(path)}"


def _stated(declared: Declared) -> list[tuple[float, str, str]]:
    """Give what was said: wavelength in Å, path, and its unit, '' for the usual one."""
    told = declared.conflict.partition(_END)[0]
    if not told and "wavelength" in declared.values:
        told = f"{declared.values['wavelength']!r} Å in {declared.wavelength_place}"
    return [(float(value), place, unit) for value, place, unit in _STATED.findall(told)]


def _raw(angstrom: float, unit: str) -> float:
    """Give the number that the documents held, in their unit: a wavelength's or an energy's."""
    convert = UNITS["wavelength"][unit]
    one = convert(1.0)
    return one / angstrom if convert(2.0) < one else angstrom / one
