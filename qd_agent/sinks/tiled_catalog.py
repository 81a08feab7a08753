"""Predictions in Tiled, a container for each run, written in micro-batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from qd_agent.core.errors import QdError
from qd_agent.core.frame import RunClosed, RunOpened
from qd_agent.core.ports import DeliveryRecord
from qd_agent.core.prediction import Provenance, StoredFrame
from qd_agent.sinks.connections import TiledConnection
from qd_agent.sinks.plain import plain_metadata, plain_text
from qd_agent.sinks.settings import TiledSettings
from qd_agent.sinks.tiled_link import connect_tiled, translated
from qd_agent.sinks.tiled_run import TiledRun, container_of_runs, find_node

_OPEN_RUNS = 20


class TiledSink:
    """A `core.ports.PredictionSink`. One thread at a time may use it.

    Args:
        settings: containers and batch size.
        connection: where Tiled is.

    Raises:
        Unavailable: Tiled is away.
        Fatal: it refuses us.
    """

    name = "tiled"

    def __init__(self, settings: TiledSettings, connection: TiledConnection) -> None:
        self._settings, self._connection = settings, connection
        self._runs: dict[str, TiledRun] = {}
        self._announced: dict[str, dict[str, object]] = {}
        with translated(connection):
            self._root: Any = connect_tiled(connection)

    def open_run(self, run: RunOpened, provenance: Provenance) -> None:
        """Make the run's container, linked to the raw run; a repeat changes nothing.

        Metadata that came late are filled in.
        """
        start = {"time": run.time, "start": plain_metadata(run.metadata)}
        self._announced[run.run_uid] = {**self._links(run.run_uid, provenance), **start}
        while len(self._announced) > _OPEN_RUNS:
            del self._announced[next(iter(self._announced))]
        with translated(self._connection):
            opened = self._run(run.run_uid, provenance)
            if run.metadata:  # they may have come after the container was made
                opened.describe(start)

    def deliver(self, records: Sequence[DeliveryRecord]) -> None:
        """Append predictions, in order; those that are in the table already are left alone.

        Raises:
            Unavailable: Tiled is away; call again with the same records.
            Fatal: it refuses them for good.
        """
        for run_uid, group in groupby(records, lambda record: record.prediction.key.run_uid):
            of_run = list(group)
            for first in range(0, len(of_run), self._settings.batch_rows):
                self._append(run_uid, of_run[first : first + self._settings.batch_rows])

    def close_run(self, run: RunClosed, account: Mapping[str, int]) -> None:
        """Record in the container's metadata that the run has stopped, with its account."""
        stop = {
            "state": "closed",
            "stop": {
                "time": run.time,
                "exit_status": plain_text(run.exit_status),
                "reason": plain_text(run.reason),
            },
            "account": dict(account),
        }
        try:
            with translated(self._connection):
                self._run(run.run_uid, None).finish(stop)
        finally:
            self._runs.pop(run.run_uid, None)
        self._announced.pop(run.run_uid, None)

    def census(self, run_uids: Sequence[str]) -> dict[str, int]:
        """Count the predictions that Tiled holds of each run; -1 for a run it does not know.

        Raises:
            Unavailable: Tiled is away.
        """
        return {uid: len(held) if (held := self._held(uid)) is not None else -1 for uid in run_uids}

    def held(self, run_uid: str) -> frozenset[StoredFrame]:
        """Give every prediction that the run's table holds, as it is now.

        Raises:
            Unavailable: Tiled is away.
        """
        return self._held(run_uid) or frozenset()

    def _held(self, run_uid: str) -> frozenset[StoredFrame] | None:
        with translated(self._connection):
            if find_node(self._root, self._settings.container, run_uid) is None:
                self._runs.pop(run_uid, None)
                return None
            self._runs.pop(run_uid, None)  # ask the table, not what we remember of it
            return self._run(run_uid, None).held

    def close(self) -> None:
        """Let go of the connection."""
        self._root.context.close()

    def _append(self, run_uid: str, records: Sequence[DeliveryRecord]) -> None:
        try:
            with translated(self._connection):
                self._run(run_uid, records[0].prediction.provenance).append(records)
        except QdError:
            # Whether the write has arrived is not known: ask the table before the next one.
            self._runs.pop(run_uid, None)
            raise

    def _run(self, run_uid: str, provenance: Provenance | None) -> TiledRun:
        if run_uid not in self._runs:
            while len(self._runs) >= _OPEN_RUNS:
                del self._runs[next(iter(self._runs))]
            parent = container_of_runs(self._root, self._settings.container)
            metadata = self._announced.get(run_uid) or self._links(run_uid, provenance)
            self._runs[run_uid] = TiledRun(parent, run_uid, metadata)
        return self._runs[run_uid]

    def _links(self, run_uid: str, provenance: Provenance | None) -> dict[str, object]:
        """Give what ties the numbers to the raw run and to what made them."""
        raw = self._settings.raw_container
        path = [*(raw.split("/") if raw else []), plain_text(run_uid)]
        made_by = {} if provenance is None else provenance.model_dump(mode="json")
        return {
            "raw_run": {"uid": plain_text(run_uid), "path": path},
            "provenance": made_by,
            "state": "open",
        }
