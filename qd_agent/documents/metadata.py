"""What declared paths say about each frame: wavelength, monitor, temperature, dark run and more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import cast

from qd_agent.core.frame import Declared, FrameReference, Happening, RunClosed
from qd_agent.documents.judging import settle
from qd_agent.documents.metadata_settings import MetadataSettings, paths_of
from qd_agent.documents.values import OTHER_RUNS, QUANTITIES, Stated, stated_at

BASELINE = "baseline"
"""Stream in which bluesky reads slow devices once before a run's frames, and once after them."""

Said = dict[str, list[Stated]]
"""What some documents state, by quantity."""


@dataclass(slots=True)
class _OfRun:
    """What one open run has said.

    Attributes:
        start: in its start document.
        descriptors: in its descriptors, by their uid: a stream may be configured anew.
        baseline: in the first event of its baseline.
    """

    start: Said = field(default_factory=dict[str, list[Stated]])
    descriptors: dict[str, Said] = field(default_factory=dict[str, Said])
    baseline: Said = field(default_factory=dict[str, list[Stated]])


class Metadata:
    """Keeps what runs declare, and ties it to their frames."""

    def __init__(self, settings: MetadataSettings) -> None:
        self._settings = settings
        every = {name: paths_of(settings, name) for name in QUANTITIES}
        self._paths = {name: paths for name, paths in every.items() if paths}
        self._runs: dict[str, _OfRun] = {}

    def start(self, run_uid: str, doc: Mapping[str, object]) -> dict[str, object]:
        """Take in a start document; give the run's metadata, with `sample_name` where declared.

        A sample that is called by two names is given none of them.
        """
        said = self._look("start", doc)
        for role in OTHER_RUNS:  # a run is neither dark nor background of itself
            said[role] = [one for one in said.get(role, ()) if one.value != run_uid]
        if self._paths:
            self._runs.setdefault(run_uid, _OfRun()).start = said
        names = {one.value for one in said.get("sample", ())}
        return {**doc, "sample_name": names.pop()} if len(names) == 1 else dict(doc)

    def descriptor(self, run_uid: str, doc: Mapping[str, object]) -> None:
        """Take in the configuration of a stream's devices."""
        if self._paths:
            run = self._runs.setdefault(run_uid, _OfRun())
            run.descriptors[str(doc["uid"])] = self._look("configuration", _configured(doc))

    def event(self, run_uid: str, stream: str, doc: Mapping[str, object]) -> None:
        """Take in an event without frames; only what a baseline read before the frames counts."""
        if self._paths and stream == BASELINE and doc.get("seq_num") == 1:
            run = self._runs.setdefault(run_uid, _OfRun())
            run.baseline = self._look("event", cast("Mapping[str, object]", doc["data"]))

    def complete(self, happenings: Iterable[Happening]) -> list[Happening]:
        """Tie to every frame what is declared about it, and forget runs that have closed."""
        if not self._paths:
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

    def _look(self, kind: str, doc: Mapping[str, object]) -> Said:
        return {
            quantity: [
                one
                for path in paths
                if path.kind == kind
                for one in [stated_at(doc, path, quantity)]
                if one is not None
            ]
            for quantity, paths in self._paths.items()
        }

    def _declared(self, reference: FrameReference) -> Declared:
        run = self._runs.get(reference.key.run_uid) or _OfRun()
        parts = (
            run.start,
            run.descriptors.get(reference.descriptor, {}),
            run.baseline,
            self._look("event", reference.readings),  # goes before the baseline's, of the same path
        )
        found: Said = {}
        for quantity, paths in self._paths.items():
            known = {one.path: one for part in parts for one in part.get(quantity, ())}
            found[quantity] = [known[path] for path in paths if path in known]
        return settle(found, self._settings, Declared())


def _configured(doc: Mapping[str, object]) -> dict[str, object]:
    """Give the values of a descriptor's configuration, by object."""
    objects = cast("Mapping[str, object]", doc.get("configuration") or {})
    return {
        name: cast("Mapping[str, object]", one).get("data")
        for name, one in objects.items()
        if isinstance(one, Mapping)
    }
