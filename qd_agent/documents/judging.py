"""What contradicted itself, judged anew by the paths, units and tolerances of now."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from qd_agent.core.frame import Declared
from qd_agent.documents.conflicts import BEYOND, conflict_of, place_of
from qd_agent.documents.metadata_settings import UNITS, MetadataSettings, paths_of
from qd_agent.documents.values import NUMBERS, OTHER_RUNS, QUANTITIES, Stated, taken_as

Raw = Iterable[tuple[str, float | str]]
"""Paths, and what stood there as the documents held it."""

_USUAL = next(iter(UNITS["wavelength"]))
_STATED = re.compile(r"(\S+) Å in (\S+)(?: \((\S+)\))?")


def look_again(declared: Declared, settings: MetadataSettings) -> Declared:
    """Judge what is declared of a frame, which may contradict itself, by the settings of now.

    What counts is what the documents said then: a path that is not declared any more says nothing,
    a unit that was corrected is applied. A path that is new says nothing either.
    """
    said: dict[str, Raw] = {**_wavelengths(declared), **declared.said}
    found = {name: _found(name, raw, settings) for name, raw in said.items()}
    if not declared.conflict and _is_as_it_was(declared, found):
        return declared
    return settle(found, settings, declared)


def settle(
    found: Mapping[str, list[Stated]], settings: MetadataSettings, before: Declared
) -> Declared:
    """Say what is declared of a frame, after what was found of some quantities.

    Args:
        found: by quantity, in the order of its paths; of those that are left out `before` counts.
        settings: which are declared, and how far they may differ.
        before: what is known of the frame.
    """
    values = {name: value for name, value in before.values.items() if name not in found}
    others = {"dark_run": before.dark_run, "background_run": before.background_run}
    place, sentences, said = before.wavelength_place, [], {}
    lacking: list[str] = []
    for quantity in (name for name in QUANTITIES if name in found):
        stated = found[quantity]
        if quantity == "wavelength":
            place = place_of(stated[0].path, quantity) if stated else ""
        if quantity in OTHER_RUNS:
            others[quantity] = str(stated[0].value) if stated else ""
        elif quantity in NUMBERS and stated:
            values[quantity] = float(stated[0].value)
        if not stated:
            lacking += _missing(quantity, settings)
        elif sentence := conflict_of(quantity, stated, settings):
            sentences.append(sentence)
            said[quantity] = tuple((one.path.text, one.raw) for one in stated)
    return Declared(
        values={name: values[name] for name in NUMBERS if name in values},
        wavelength_place=place,
        flags=tuple(dict.fromkeys([*lacking, *before.flags])),
        conflict="; ".join(sentences),
        said=said,
        **others,
    )


def _missing(quantity: str, settings: MetadataSettings) -> list[str]:
    """Give the flag of what is declared and says nothing; a missing dark is flagged elsewhere."""
    if quantity in ("sample", "dark_run") or not getattr(settings, quantity):
        return []
    return ["background_missing" if quantity == "background_run" else f"{quantity}_missing"]


def _found(quantity: str, raw: Raw, settings: MetadataSettings) -> list[Stated]:
    known = dict(raw)
    taken = (taken_as(known.get(p.text), p, quantity) for p in paths_of(settings, quantity))
    return [one for one in taken if one is not None]


def _is_as_it_was(declared: Declared, found: Mapping[str, list[Stated]]) -> bool:
    """Tell whether the one wavelength that can differ from a geometry's is taken as it was."""
    stated = found.get("wavelength")
    if stated is None:
        return True
    return bool(stated) and place_of(stated[0].path, "wavelength") == declared.wavelength_place


def _wavelengths(declared: Declared) -> dict[str, Raw]:
    """Give the wavelengths that were said, as the documents held them.

    A frame of older books has them, where they contradict each other, in its sentence alone.
    """
    told = ""
    if declared.conflict.startswith("the wavelength is") and "wavelength" not in declared.said:
        told = declared.conflict.partition(BEYOND)[0]
    elif "wavelength" in declared.values:
        told = f"{declared.values['wavelength']!r} Å in {declared.wavelength_place}"
    found = [
        (place, _raw(float(value), unit or _USUAL)) for value, place, unit in _STATED.findall(told)
    ]
    return {"wavelength": found} if found else {}


def _raw(angstrom: float, unit: str) -> float:
    """Give the number that the documents held, in their unit: a wavelength's or an energy's."""
    convert = UNITS["wavelength"][unit]
    one = convert(1.0)
    return one / angstrom if convert(2.0) < one else angstrom / one
