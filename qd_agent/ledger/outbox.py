"""What every store has still to be told: predictions, run starts and run stops.

A row is struck only after the store has answered, so whatever is killed, and whenever, the next
start knows what is left to deliver.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence, Set

from qd_agent.core.frame import RunClosed, RunOpened
from qd_agent.core.prediction import Prediction, StoredFrame
from qd_agent.ledger.books import SAMPLE, Books
from qd_agent.ledger.records import Delivery, floats

OPENED, CLOSED = "opened", "closed"


class Outbox(Books):
    """The books, and the deliveries that they still owe."""

    def announce(self, db: sqlite3.Connection, run_uid: str, what: str) -> None:
        """Within a transaction, owe every sink the news that a run was opened or closed."""
        db.executemany(
            "INSERT INTO run_outbox (sink, run_uid, what) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            [(sink, run_uid, what) for sink in self._sinks],
        )

    def owe(self, db: sqlite3.Connection, frame_id: int, run_uid: str, revision: int) -> None:
        """Within a transaction, owe every sink a prediction; a closed run is told of again."""
        db.executemany(
            "INSERT INTO outbox (sink, frame_id, run_uid, revision) VALUES (?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET revision = excluded.revision",
            [(sink, frame_id, run_uid, revision) for sink in self._sinks],
        )
        row = db.execute(
            "SELECT 1 FROM runs WHERE uid = ? AND closed IS NOT NULL", (run_uid,)
        ).fetchone()
        if row is not None:  # its account has changed
            self.announce(db, run_uid, CLOSED)

    def undelivered(self, sink: str, limit: int) -> list[Delivery]:
        """Give the oldest predictions that `sink` has not confirmed, at most `limit`."""
        rows = self._db.rows(
            "SELECT id, prediction, intensity, explanation FROM outbox JOIN frames "
            "ON id = frame_id WHERE sink = ? ORDER BY frame_id LIMIT ?",
            sink,
            limit,
        )
        return [
            Delivery(
                int(str(frame_id)),
                Prediction.model_validate_json(str(prediction)),
                floats(intensity),
                floats(explanation),
            )
            for frame_id, prediction, intensity, explanation in rows
        ]

    def delivered(self, sink: str, deliveries: Sequence[Delivery]) -> None:
        """Strike predictions from the outbox that a sink has confirmed."""
        with self._db.transaction() as db:
            db.executemany(
                # What was answered anew in the meantime is owed still.
                "DELETE FROM outbox WHERE sink = ? AND frame_id = ? AND revision = ?",
                [(sink, d.frame_id, d.prediction.revision) for d in deliveries],
            )
            # Patterns are 40 kB a frame; what every store has is not kept twice.
            db.executemany(
                "UPDATE frames SET intensity = NULL, explanation = NULL WHERE id = ? "
                "AND NOT EXISTS (SELECT 1 FROM outbox WHERE frame_id = id)",
                [(delivery.frame_id,) for delivery in deliveries],
            )

    def backlog(self, sink: str) -> int:
        """Count the predictions that `sink` has not confirmed."""
        return int(str(self._db.rows("SELECT COUNT(*) FROM outbox WHERE sink = ?", sink)[0][0]))

    def lag(self, sink: str) -> float:
        """Give how long ago the longest known frame was answered that `sink` lacks, s; 0 for none.

        With `backlog`, it tells a store that is slow from one that has just been given a batch.
        """
        rows = self._db.rows(
            "SELECT json_extract(prediction, '$.publication_time') FROM outbox JOIN frames "
            "ON id = frame_id WHERE sink = ? ORDER BY frame_id LIMIT 1",
            sink,
        )
        return max(0.0, time.time() - float(str(rows[0][0]))) if rows else 0.0

    def owes(self, sink: str) -> bool:
        """Tell whether `sink` is to be told anything that it can be told now."""
        return bool(self.backlog(sink) or self.runs_to_open(sink) or self.runs_to_close(sink))

    def runs_to_open(self, sink: str) -> list[RunOpened]:
        """Give the runs that `sink` has not been told of, oldest first."""
        rows = self._db.rows(
            "SELECT uid, time, metadata FROM run_outbox JOIN runs ON uid = run_uid "
            "WHERE sink = ? AND what = ? ORDER BY time, uid",
            sink,
            OPENED,
        )
        return [
            RunOpened(str(uid), float(str(time)), json.loads(str(metadata)))
            for uid, time, metadata in rows
        ]

    def runs_to_close(self, sink: str) -> list[RunClosed]:
        """Give the stopped runs of which `sink` has every prediction, and not yet the stop."""
        rows = self._db.rows(
            "SELECT uid, closed FROM run_outbox AS o JOIN runs ON uid = o.run_uid WHERE o.sink = ? "
            "AND o.what = ? AND NOT EXISTS (SELECT 1 FROM outbox AS p WHERE p.sink = o.sink "
            "AND p.run_uid = uid) AND NOT EXISTS (SELECT 1 FROM frames AS f WHERE f.role = ? "
            "AND f.run_uid = uid AND f.verdict IS NULL) ORDER BY time, uid",
            sink,
            CLOSED,
            SAMPLE,
        )
        return [RunClosed(run_uid=str(uid), **json.loads(str(closed))) for uid, closed in rows]

    def run_opened(self, sink: str, run_uid: str) -> None:
        """Strike that a sink is to be told of a run's start."""
        self._strike_run(sink, run_uid, OPENED)

    def run_closed(self, sink: str, run_uid: str) -> None:
        """Strike that a sink is to be told of a run's stop."""
        self._strike_run(sink, run_uid, CLOSED)

    def deliver_again(self, sink: str, run_uid: str, held: Set[StoredFrame]) -> int:
        """Owe `sink` what it should have of a run and does not hold; give how many predictions.

        Args:
            sink: name of the sink.
            run_uid: the run.
            held: what the sink holds of it.
        """
        rows = self._db.rows(
            "SELECT id, prediction FROM frames WHERE role = ? AND run_uid = ? "
            "AND verdict IS NOT NULL",
            SAMPLE,
            run_uid,
        )
        missing: list[tuple[str, int, int]] = []
        for frame_id, text in rows:
            prediction = Prediction.model_validate_json(str(text))
            if StoredFrame.of(prediction) not in held:
                missing.append((sink, int(str(frame_id)), prediction.revision))
        if not missing:
            return 0
        with self._db.transaction() as db:
            db.executemany(
                # The run may have left the ledger meanwhile, or the frame be tried anew.
                "INSERT INTO outbox (sink, frame_id, run_uid, revision) SELECT ?, id, run_uid, "
                "revision FROM frames WHERE id = ? AND revision = ? AND verdict IS NOT NULL "
                "ON CONFLICT DO NOTHING",
                missing,
            )
            self._announce_again(db, sink, run_uid)
        return len(missing)

    def announce_again(self, sink: str, run_uid: str) -> None:
        """Owe `sink` the start of a run (and the stop, if there was one) once more."""
        with self._db.transaction() as db:
            self._announce_again(db, sink, run_uid)

    def _announce_again(self, db: sqlite3.Connection, sink: str, run_uid: str) -> None:
        db.execute(
            "INSERT INTO run_outbox (sink, run_uid, what) SELECT ?, uid, ? FROM runs "
            "WHERE uid = ? ON CONFLICT DO NOTHING",
            (sink, OPENED, run_uid),
        )
        db.execute(
            "INSERT INTO run_outbox (sink, run_uid, what) SELECT ?, uid, ? FROM runs "
            "WHERE uid = ? AND closed IS NOT NULL ON CONFLICT DO NOTHING",
            (sink, CLOSED, run_uid),
        )

    def _strike_run(self, sink: str, run_uid: str, what: str) -> None:
        with self._db.transaction() as db:
            db.execute(
                "DELETE FROM run_outbox WHERE sink = ? AND run_uid = ? AND what = ?",
                (sink, run_uid, what),
            )
