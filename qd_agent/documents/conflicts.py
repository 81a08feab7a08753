"""Declared paths whose documents contradict each other, said in a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qd_agent.documents.metadata_settings import UNITS, DeclaredPath, MetadataSettings
from qd_agent.documents.values import NUMBERS, Stated

BEYOND = ": they differ by more than"
"""Between what is stated and the tolerance."""

_REMEDY = "so no size is given; correct one of them"


@dataclass(frozen=True, slots=True)
class _Words:
    """How a quantity is called, and the unit in which its values are compared."""

    name: str
    unit: str = ""


_WORDS: Mapping[str, _Words] = {
    "wavelength": _Words("wavelength", " Å"),
    "monitor": _Words("monitor"),
    "exposure": _Words("exposure time", " s"),
    "temperature": _Words("temperature", " °C"),
    "sample": _Words("sample"),
    "dark_run": _Words("dark run"),
    "background_run": _Words("background run"),
}


def conflict_of(quantity: str, found: Sequence[Stated], settings: MetadataSettings) -> str:
    """Name all that is stated of one quantity, the two that disagree first; '' when all agree.

    Args:
        quantity: 'wavelength', 'sample', ...
        found: what is stated, in the order of the paths in the configuration.
        settings: how far numbers may differ; texts must be the same.
    """
    pair = _numbers_apart if quantity in NUMBERS else _texts_apart
    apart = pair(quantity, found, settings)
    if apart is None:
        return ""
    first, second, end = apart
    more = [one for one in found if one is not first and one is not second]
    others = "".join(f" and {_shown(quantity, one)}" for one in more)
    return (
        f"the {_WORDS[quantity].name} is {_shown(quantity, first)} but {_shown(quantity, second)}"
        f"{others}{end}, {_REMEDY}"
    )


def place_of(path: DeclaredPath, quantity: str) -> str:
    """Say where a value stands, and in which unit it is taken, where that is not the usual."""
    usual = next(iter(UNITS[quantity]))
    return path.text if path.unit == usual else f"{path.text} ({path.unit})"


def _numbers_apart(
    quantity: str, found: Sequence[Stated], settings: MetadataSettings
) -> tuple[Stated, Stated, str] | None:
    """Give the two numbers that differ most, and by how much they may; None when all agree."""
    low = min(found, key=lambda one: one.value)
    high = max(found, key=lambda one: one.value)
    bottom, top = float(low.value), float(high.value)
    if quantity == "temperature":  # a share of it would mean nothing near 0 °C
        allowed, told = settings.temperature_tolerance, f"{settings.temperature_tolerance:.3g} K"
    else:
        share = settings.wavelength_tolerance if quantity == "wavelength" else settings.tolerance
        allowed, told = share * min(abs(bottom), abs(top)), f"{share:.3g} of it"
    if top <= bottom + allowed:
        return None
    first, second = sorted((low, high), key=found.index)
    return first, second, f"{BEYOND} {told}"


def _texts_apart(
    _quantity: str, found: Sequence[Stated], _settings: MetadataSettings
) -> tuple[Stated, Stated, str] | None:
    """Give the first text and the first that is another; None when all are the same."""
    other = next((one for one in found if one.value != found[0].value), None)
    return None if other is None else (found[0], other, ": they are not the same")


def _shown(quantity: str, stated: Stated) -> str:
    value = stated.value
    told = f"{value:.6g}" if isinstance(value, float) else f"'{value}'"
    return f"{told}{_WORDS[quantity].unit} in {place_of(stated.path, quantity)}"
