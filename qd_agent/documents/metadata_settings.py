"""Settings of the metadata: by which paths the documents say what, and in which unit."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

KEV_ANGSTROM = 12.398419843320026
"""Energy of a photon times its wavelength (h c)."""
MAX_PATH = 256
MAX_PATHS = 16

_PATH = re.compile(r"(start|configuration|event)\.(\S+)(?:\s+(\S+))?")


def _times(factor: float) -> Callable[[float], float]:
    return lambda value: value * factor


def _over(energy: float) -> Callable[[float], float]:
    return lambda value: energy / value if value else 0.0


_ANGSTROM, _SECOND, _CELSIUS = _times(1.0), _times(1.0), _times(1.0)

UNITS: Mapping[str, Mapping[str, Callable[[float], float]]] = MappingProxyType(
    {
        "wavelength": {
            "Å": _ANGSTROM,
            "A": _ANGSTROM,
            "nm": _times(10.0),
            "pm": _times(0.01),
            "m": _times(1e10),
            "keV": _over(KEV_ANGSTROM),
            "eV": _over(KEV_ANGSTROM * 1e3),
        },
        "exposure": {"s": _SECOND, "ms": _times(1e-3), "us": _times(1e-6), "min": _times(60.0)},
        "temperature": {"°C": _CELSIUS, "C": _CELSIUS, "K": lambda value: value - 273.15},
        "monitor": {"": _times(1.0)},
        "sample": {"": _times(1.0)},
        "dark_run": {"": _times(1.0)},
        "background_run": {"": _times(1.0)},
    }
)
"""Units by quantity, and how a value in each becomes Å, s or °C; the first is the default."""


@dataclass(frozen=True, slots=True)
class DeclaredPath:
    """A place in the documents.

    Attributes:
        kind: 'start', 'configuration' or 'event'.
        words: the rest of the path, split at its dots.
        unit: of the value there.
        text: the path without its unit, for messages.
    """

    kind: str
    words: tuple[str, ...]
    unit: str
    text: str


def read_path(text: str, quantity: str) -> DeclaredPath:
    """Read a path such as `configuration.mono.energy keV`.

    Raises:
        ValueError: it is no path, or the quantity has no such unit.
    """
    found = _PATH.fullmatch(text.strip())
    if found is None or len(text) > MAX_PATH or not text.isprintable():
        raise ValueError(
            "expected start.KEY, configuration.OBJECT.KEY or event.KEY, and a unit behind a space"
        )
    kind, rest, unit = found.groups()
    words = tuple(rest.split("."))
    if not all(words):
        raise ValueError("a path has one dot between two words")
    if kind == "configuration" and len(words) < 2:
        raise ValueError("expected configuration.OBJECT.KEY: the object that is configured first")
    if quantity in ("sample", "dark_run", "background_run") and kind != "start":
        what = "the sample's name" if quantity == "sample" else f"the {quantity.replace('_', ' ')}"
        raise ValueError(f"{what} belongs to the run: expected start.KEY")
    units = UNITS[quantity]
    if unit is not None and unit not in units:
        known = ", ".join(filter(None, units)) or "none"
        raise ValueError(f"unit {unit!r} is not one of a {quantity} ({known})")
    return DeclaredPath(kind, words, unit or next(iter(units)), f"{kind}.{rest}")


def _listed(value: object) -> object:
    """Give a single path as a list of one."""
    return [value] if isinstance(value, str) else value


def _checked(quantity: str) -> AfterValidator:
    def check(paths: list[str]) -> list[str]:
        for path in paths:
            read_path(path, quantity)
        return paths

    return AfterValidator(check)


_LISTED = BeforeValidator(_listed, json_schema_input_type=str | list[str])


class MetadataSettings(BaseModel):
    """Where the documents say what a frame was taken with (paths; the first word is the kind)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    wavelength: Annotated[list[str], _checked("wavelength"), _LISTED] = Field(
        default=[],
        max_length=MAX_PATHS,
        description="paths of the wavelength, such as `start.beamline.wavelength` or "
        "`configuration.mono.energy keV`; Å, or behind a space nm, pm, m, keV or eV. All that is "
        "found must agree, with the geometry's wavelength too; else frames are set aside",
    )
    wavelength_tolerance: float = Field(
        default=1e-3,
        gt=0,
        le=0.1,
        allow_inf_nan=False,
        description="relative difference up to which two wavelengths agree",
    )
    tolerance: float = Field(
        default=1e-3,
        gt=0,
        le=0.1,
        allow_inf_nan=False,
        description="relative difference up to which two exposure times, or two monitors, agree",
    )
    temperature_tolerance: float = Field(
        default=1.0,
        gt=0,
        le=100,
        allow_inf_nan=False,
        description="difference up to which two temperatures agree, K",
    )
    monitor: Annotated[list[str], _checked("monitor"), _LISTED] = Field(
        default=[],
        max_length=MAX_PATHS,
        description="paths of the monitor that divides the counts; all that is found must agree; "
        "it goes before `reduction.monitor_key`",
    )
    exposure: Annotated[list[str], _checked("exposure"), _LISTED] = Field(
        default=[],
        max_length=MAX_PATHS,
        description="paths of the exposure time; s, or ms, us or min; all that is found must "
        "agree, else frames are set aside",
    )
    temperature: Annotated[list[str], _checked("temperature"), _LISTED] = Field(
        default=[],
        max_length=MAX_PATHS,
        description="paths of the sample's temperature; °C, or K; all that is found must agree, so "
        "name either the setpoint or the readback",
    )
    sample: Annotated[list[str], _checked("sample"), _LISTED] = Field(
        default=[],
        max_length=MAX_PATHS,
        description="paths of the sample's name in start documents; it becomes `sample_name` of "
        "the run's metadata; all that is found must be the same, else frames are set aside",
    )
    dark_run: Annotated[list[str], _checked("dark_run"), _LISTED] = Field(
        default=[],
        max_length=MAX_PATHS,
        description="paths in start documents of the uid of the run whose frames are this run's "
        "darks, such as `start.sc_dk_field_uid`; dark frames of the run itself go before it. All "
        "uids that are found must be the same, else frames are set aside",
    )
    background_run: Annotated[list[str], _checked("background_run"), _LISTED] = Field(
        default=[],
        max_length=MAX_PATHS,
        description="paths in start documents of the uid of the run that holds no nanocrystals "
        "(solvent, empty capillary), which is subtracted from this run's patterns. All uids that "
        "are found must be the same, else frames are set aside",
    )


def paths_of(settings: MetadataSettings, quantity: str) -> tuple[DeclaredPath, ...]:
    """Give the paths that are declared for a quantity, each once."""
    stated = cast("list[str]", getattr(settings, quantity))
    return tuple(dict.fromkeys(read_path(path, quantity) for path in stated))
