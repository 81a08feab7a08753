"""Frames that their events name by a datum, as areaDetector's file plugins did before 2023."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from qd_agent.core.frame import FrameReference
from qd_agent.documents.events import Event
from qd_agent.documents.layout import Descriptor, ImageKey
from qd_agent.documents.legacy import LegacyAssets
from qd_agent.documents.run import Run
from qd_agent.documents.schema import MAX_TEXT

MOST_READINGS = 100
"""Events that may wait for one datum."""


class NamedFrames:
    """Brings events and the datums that they name together, whichever comes first.

    Args:
        most: names that are kept, and events of a run that may wait for theirs.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._assets = LegacyAssets(most)

    def frames(
        self, run: Run, descriptor: Descriptor, event: Event, data: Mapping[str, object]
    ) -> list[FrameReference]:
        """Give the frames that an event names; those of a datum not known yet come with it."""
        frames: list[FrameReference] = []
        for key in descriptor.external:
            name = data.get(key.name)
            if isinstance(name, str):
                frames += self._find(run, name, descriptor, key, event)
        return frames

    def add_resource(self, doc: Mapping[str, object], runs: Iterable[Run]) -> list[FrameReference]:
        """Take in a resource; give the frames whose events have waited for it."""
        self._assets.add_resource(doc)
        return [frame for run in runs for frame in self._awaited(run, [*run.awaited])]

    def add_datums(self, doc: Mapping[str, object], runs: Iterable[Run]) -> list[FrameReference]:
        """Take in a datum or a page of them; give the frames whose events have waited for it."""
        ids = self._assets.add_datums(doc)
        return [frame for run in runs for frame in self._awaited(run, ids)]

    def _awaited(self, run: Run, datum_ids: Iterable[str]) -> list[FrameReference]:
        frames: list[FrameReference] = []
        for datum_id in datum_ids:
            for waiting in run.awaited.pop(datum_id, {}).values():
                frames += self._find(run, datum_id, *waiting)
        return frames

    def _find(
        self, run: Run, datum_id: str, descriptor: Descriptor, key: ImageKey, event: Event
    ) -> list[FrameReference]:
        found = self._assets.find(datum_id)
        if found is None:
            if len(run.awaited) < self._most and len(datum_id) <= MAX_TEXT:
                waiting = run.awaited.setdefault(datum_id, {})
                if len(waiting) < MOST_READINGS:
                    waiting[event.uid, key.name] = descriptor, key, event
            return []
        resource, datum = found
        return [
            *run.named_frames(
                descriptor, key, event, lambda frame: resource.location(key, datum, frame)
            )
        ]
