"""Which documents a new process needs to go on with a run, and in what form they are kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from qd_agent.core.ports import Document
from qd_agent.documents.events import scalar_readings
from qd_agent.documents.metadata import BASELINE
from qd_agent.documents.reading import unpack_page

_OWN_RUN = frozenset({"descriptor", "stream_resource", "resource"})
_OF_DESCRIPTOR = frozenset({"stream_datum"})
_OF_RESOURCE = frozenset({"datum", "datum_page"})


class Keepsakes:
    """Tells of each document whether, for which run and how it is kept.

    What announces frames is kept as it is; of a baseline, its first event's numbers. Other events
    are not: a frame whose event came to the old process goes on without readings.
    """

    def __init__(self) -> None:
        self._run_of: dict[str, str] = {}
        self._started: set[str] = set()
        self._baselines: set[str] = set()

    def of(self, name: str, doc: Mapping[str, object]) -> tuple[str, Document] | None:
        """Give the run and what is kept of a document that has passed its schema, or None.

        Raises:
            BadFrame: an event_page has columns of different lengths.
        """
        if name == "start":
            self._started.add(str(doc["uid"]))
            return str(doc["uid"]), (name, doc)
        if name in {"event", "event_page"}:
            return self._baseline(name, doc)
        run_uid = self._run(name, doc)
        return None if run_uid is None else (run_uid, (name, doc))

    def forget(self, run_uid: str) -> None:
        """Let go of a run that is closed."""
        self._started.discard(run_uid)
        self._run_of = {uid: run for uid, run in self._run_of.items() if run != run_uid}
        self._baselines &= self._run_of.keys()

    def _run(self, name: str, doc: Mapping[str, object]) -> str | None:
        if name in _OF_DESCRIPTOR:
            return self._run_of.get(str(doc.get("descriptor")))
        if name in _OF_RESOURCE:
            return self._run_of.get(str(doc.get("resource")))
        run_uid = doc.get("run_start")
        if name == "stream_resource" and not run_uid and len(self._started) == 1:
            (run_uid,) = self._started  # as the router takes it
        if name not in _OWN_RUN or run_uid is None:
            return None
        if name != "stream_resource":
            self._run_of[str(doc["uid"])] = str(run_uid)
            if name == "descriptor" and doc.get("name") == BASELINE:
                self._baselines.add(str(doc["uid"]))
        return str(run_uid)

    def _baseline(self, name: str, doc: Mapping[str, object]) -> tuple[str, Document] | None:
        uid = str(doc.get("descriptor"))
        if uid not in self._baselines:
            return None
        event = next(iter([doc] if name == "event" else unpack_page(doc)), None)
        if event is None or event.get("seq_num") != 1:
            return None
        data = scalar_readings(cast("Mapping[str, object]", event["data"]))
        times = cast("Mapping[str, object]", event["timestamps"])
        kept = {
            "uid": event["uid"],
            "descriptor": uid,
            "seq_num": 1,
            "time": event["time"],
            "data": data,
            "timestamps": {key: when for key, when in times.items() if key in data},
        }
        return self._run_of[uid], ("event", kept)
