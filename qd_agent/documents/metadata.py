"""What declared paths say about each frame: wavelength, monitor, temperature, dark run and more."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import cast

from qd_agent.core.frame import Declared, FrameReference, Happening, RunClosed
from qd_agent.documents.metadata_settings import UNITS, DeclaredPath, MetadataSettings, read_path
from qd_agent.documents.run import scalar_readings
from qd_agent.documents.wavelengths import LIMITS, conflict_of, place_of

QUANTITIES = ("wavelength", "monitor", "exposure", "temperature")
OTHER_RUNS = ("dark_run", "background_run")
BASELINE = "baseline"
"""Stream in which bluesky reads slow devices once before a run's frames, and once after them."""
MAX_SAMPLE_NAME = 200
MAX_UID = 128

_UID = re.compile(rf"\w[\w.-]{{0,{MAX_UID - 1}}}", re.ASCII)
"""Uids that may be looked up; event-model asks for no form, all that is in use fits. None begins
with a dot: `..` would be another place in an archive's addresses."""

_LIMITS: Mapping[str, tuple[float, float]] = {
    "wavelength": LIMITS,
    "monitor": (-1e300, 1e300),
    "exposure": (1e-9, 1e9),
    "temperature": (-273.15, 1e5),
}
"""What can be meant, in Å, counts, s and °C: an unplugged device often says 0 or -999."""

Found = tuple[str, float]
"""A path, and the value there in our unit."""


@dataclass(slots=True)
class _OfRun:
    """What one open run has said.

    Attributes:
        start: by quantity.
        others: uids of other runs, by their role.
        streams: of its descriptors, by stream and quantity.
        baseline: of the first event of its baseline, by quantity.
    """

    start: dict[str, list[Found]] = field(default_factory=dict[str, list[Found]])
    others: dict[str, str] = field(default_factory=dict[str, str])
    streams: dict[str, dict[str, list[Found]]] = field(
        default_factory=dict[str, dict[str, list[Found]]]
    )
    baseline: dict[str, list[Found]] = field(default_factory=dict[str, list[Found]])


class Metadata:
    """Keeps what runs declare, and ties it to their frames."""

    def __init__(self, settings: MetadataSettings) -> None:
        self._tolerance = settings.wavelength_tolerance
        stated = {name: cast("list[str]", getattr(settings, name)) for name in QUANTITIES}
        self._paths = {
            name: [read_path(path, name) for path in paths]
            for name, paths in stated.items()
            if paths
        }
        self._samples = [read_path(path, "sample") for path in settings.sample]
        self._others = {
            role: [read_path(path, role) for path in cast("list[str]", getattr(settings, role))]
            for role in OTHER_RUNS
        }
        self._silent = not self._paths and not any(self._others.values())
        self._runs: dict[str, _OfRun] = {}

    def start(self, run_uid: str, doc: Mapping[str, object]) -> dict[str, object]:
        """Take in a start document; give the run's metadata, with `sample_name` where declared."""
        if not self._silent:
            run = self._runs.setdefault(run_uid, _OfRun())
            run.start, run.others = self._look("start", doc), self._look_for_runs(run_uid, doc)
        name = next(filter(None, (_name(_at(doc, path.words)) for path in self._samples)), None)
        return dict(doc) if name is None else {**doc, "sample_name": name}

    def descriptor(self, run_uid: str, stream: str, doc: Mapping[str, object]) -> None:
        """Take in the configuration of a stream's devices."""
        if not self._silent:
            run = self._runs.setdefault(run_uid, _OfRun())
            run.streams[stream] = self._look("configuration", _configured(doc))

    def event(self, run_uid: str, stream: str, doc: Mapping[str, object]) -> None:
        """Take in an event without frames; only what a baseline read before the frames counts."""
        if self._paths and stream == BASELINE and doc.get("seq_num") == 1:
            run = self._runs.setdefault(run_uid, _OfRun())
            run.baseline = self._look("event", cast("Mapping[str, object]", doc["data"]))

    def complete(self, happenings: Iterable[Happening]) -> list[Happening]:
        """Tie to every frame what is declared about it, and forget runs that have closed."""
        if self._silent:
            return list(happenings)
        made: list[Happening] = []
        for happening in happenings:
            if isinstance(happening, RunClosed):
                self._runs.pop(happening.run_uid, None)
            if isinstance(happening, FrameReference):
                made.append(replace(happening, declared=self._declared(happening)))
            else:
                made.append(happening)
        return made

    def _look(self, kind: str, doc: Mapping[str, object]) -> dict[str, list[Found]]:
        found: dict[str, list[Found]] = {}
        for quantity, paths in self._paths.items():
            values = [
                (path.text, value)
                for path in paths
                if path.kind == kind
                for value in [_number(_at(doc, path.words), path, quantity)]
                if value is not None
            ]
            if values:
                found[quantity] = values
        return found

    def _look_for_runs(self, run_uid: str, doc: Mapping[str, object]) -> dict[str, str]:
        """Give the runs that are named as dark and background; a run is neither of itself."""
        found = {
            role: next(filter(None, (_uid(_at(doc, path.words)) for path in paths)), "")
            for role, paths in self._others.items()
        }
        return {role: uid for role, uid in found.items() if uid and uid != run_uid}

    def _declared(self, reference: FrameReference) -> Declared:
        run = self._runs.get(reference.key.run_uid) or _OfRun()
        parts = (
            run.start,
            run.streams.get(reference.key.stream, {}),
            run.baseline,
            self._look("event", reference.readings),  # goes before the baseline's, of the same path
        )
        values: dict[str, float] = {}
        flags: list[str] = []
        conflict = place = ""
        for quantity, paths in self._paths.items():
            known = {text: value for part in parts for text, value in part.get(quantity, ())}
            found = [(path, known[path.text]) for path in paths if path.text in known]
            if not found:
                flags.append(f"{quantity}_missing")
                continue
            values[quantity] = found[0][1]
            if quantity == "wavelength":
                place, conflict = place_of(found[0][0]), conflict_of(found, self._tolerance)
        others = run.others
        if self._others["background_run"] and "background_run" not in others:
            flags.append("background_missing")
        return Declared(
            values,
            place,
            tuple(flags),
            conflict,
            others.get("dark_run", ""),
            others.get("background_run", ""),
        )


def _configured(doc: Mapping[str, object]) -> dict[str, object]:
    """Give the values of a descriptor's configuration, by object."""
    objects = cast("Mapping[str, object]", doc.get("configuration") or {})
    return {
        name: cast("Mapping[str, object]", one).get("data")
        for name, one in objects.items()
        if isinstance(one, Mapping)
    }


def _at(tree: object, words: Sequence[str]) -> object:
    """Give what stands at a path, None where nothing does (event-model has no dots in keys)."""
    for word in words:
        if not isinstance(tree, Mapping):
            return None
        tree = cast("Mapping[str, object]", tree).get(word)
    return tree


def _number(value: object, path: DeclaredPath, quantity: str) -> float | None:
    """Give a value in our unit, None when it is no number or can not be meant."""
    read = scalar_readings({"": value}).get("")
    if read is None:
        return None
    made = UNITS[quantity][path.unit](read)
    low, high = _LIMITS[quantity]
    return made if isfinite(made) and low <= made <= high else None


def _uid(value: object) -> str:
    """Give the uid of a run, '' when it is none."""
    return value if isinstance(value, str) and _UID.fullmatch(value) else ""


def _name(value: object) -> str:
    """Give a sample's name in one printable line, '' when it is none."""
    if not isinstance(value, str):
        return ""
    cut = value[:MAX_SAMPLE_NAME]
    return " ".join("".join(c if c.isprintable() else " " for c in cut).split())
