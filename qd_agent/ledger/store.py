"""The books in one SQLite file.

A frame is written down before it is sized, its prediction (with an outbox entry for each sink)
before it is delivered, and an outbox entry is struck only after the store has answered; so
whatever is killed, and whenever, the next start knows what is left to do.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from qd_agent.core.frame import FrameKey, FrameReference, RunClosed, RunOpened
from qd_agent.core.prediction import Prediction, Verdict
from qd_agent.ledger.database import Database
from qd_agent.ledger.records import (
    Account,
    Delivery,
    array_to_bytes,
    floats,
    identity,
    plain_json,
    reference_from_json,
    reference_to_json,
)

SAMPLE, DARK = "sample", "dark"
_OPENED, _CLOSED = "opened", "closed"
_KEY = "run_uid = ? AND stream = ? AND data_key = ? AND seq_num = ? AND idx = ? AND model = ?"


class Ledger:
    """The books; safe to call from several threads.

    Args:
        path: the SQLite file (WAL mode); made when missing, with its folder.
        model: name of the model version; a frame is sized once for each.
        sinks: names of the stores that every prediction must reach.

    Raises:
        Fatal: the file cannot be opened, is no ledger, or the disk is full.
    """

    def __init__(self, path: Path, model: str, sinks: Sequence[str]) -> None:
        self._model, self._sinks = model, tuple(sinks)
        self._db = Database(path)

    def _announce(self, db: sqlite3.Connection, run_uid: str, what: str) -> None:
        db.executemany(
            "INSERT INTO run_outbox (sink, run_uid, what) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            [(sink, run_uid, what) for sink in self._sinks],
        )

    # -- intake ----------------------------------------------------------------------------

    def open_run(self, run: RunOpened) -> None:
        """Write down that a run started; metadata that were missing before are filled in."""
        metadata = plain_json(run.metadata)
        with self._db.transaction() as db:
            cursor = db.execute(
                "INSERT INTO runs (uid, time, metadata) VALUES (?, ?, ?) ON CONFLICT (uid) DO "
                "UPDATE SET metadata = excluded.metadata, time = excluded.time "
                "WHERE runs.metadata = '{}' AND excluded.metadata <> '{}'",
                (run.run_uid, run.time, metadata),
            )
            if cursor.rowcount == 1:
                self._announce(db, run.run_uid, _OPENED)

    def close_run(self, run: RunClosed) -> None:
        """Write down that a run stopped, with what it says it counted; a repeat is ignored."""
        closed = json.dumps(
            {
                "time": run.time,
                "exit_status": run.exit_status,
                "reason": run.reason,
                "expected": dict(run.expected),
            }
        )
        with self._db.transaction() as db:
            cursor = db.execute(
                "UPDATE runs SET closed = ? WHERE uid = ? AND closed IS NULL", (closed, run.run_uid)
            )
            if cursor.rowcount == 1:
                self._announce(db, run.run_uid, _CLOSED)
            db.execute("DELETE FROM documents WHERE run_uid = ?", (run.run_uid,))

    def keep_document(self, run_uid: str, name: str, doc: Mapping[str, object]) -> None:
        """Keep a document that later ones refer to, until its run is closed."""
        with self._db.transaction() as db:
            db.execute(
                "INSERT INTO documents (run_uid, name, uid, body) SELECT ?, ?, ?, ? "
                "WHERE NOT EXISTS (SELECT 1 FROM runs WHERE uid = ? AND closed IS NOT NULL) "
                "ON CONFLICT DO NOTHING",
                (run_uid, name, str(doc["uid"]), plain_json(doc), run_uid),
            )

    def see(self, reference: FrameReference, role: str = SAMPLE) -> bool:
        """Write a frame down before anything is done with it; False when it is known already."""
        image = None if reference.array is None else array_to_bytes(reference.array)
        with self._db.transaction() as db:
            cursor = db.execute(
                "INSERT INTO frames (run_uid, stream, data_key, seq_num, idx, model, role, "
                "reference, image) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (*identity(reference.key), self._model, role, reference_to_json(reference), image),
            )
            return cursor.rowcount == 1

    def begin(self, key: FrameKey) -> int:
        """Count that a frame is about to be read; give how often it was and never came back.

        A frame that takes the process with it would otherwise do so at each restart.
        """
        with self._db.transaction() as db:
            row = db.execute(
                f"UPDATE frames SET begun = begun + 1 WHERE {_KEY} RETURNING begun - 1",
                (*identity(key), self._model),
            ).fetchone()
            return 0 if row is None else int(row[0])

    def put_off(self, key: FrameKey) -> None:
        """Take back that a frame was begun: it came back without an answer, in good order."""
        with self._db.transaction() as db:
            db.execute(f"UPDATE frames SET begun = 0 WHERE {_KEY}", (*identity(key), self._model))

    def predict(
        self,
        prediction: Prediction,
        intensity: npt.NDArray[np.float32] | None,
        model: npt.NDArray[np.float32] | None,
    ) -> None:
        """Write down the answer to a seen frame; a second answer to the same frame is ignored.

        Args:
            prediction: the answer.
            intensity: normalized I(Q), shape (n,), or None.
            model: the explaining Debye pattern, shape (n,), or None.
        """
        with self._db.transaction() as db:
            row = db.execute(
                "UPDATE frames SET verdict = ?, prediction = ?, intensity = ?, explanation = ?, "
                f"image = NULL WHERE {_KEY} AND verdict IS NULL RETURNING id",
                (
                    prediction.verdict.value,
                    prediction.model_dump_json(),
                    None if intensity is None else intensity.astype("<f4").tobytes(),
                    None if model is None else model.astype("<f4").tobytes(),
                    *identity(prediction.key),
                    self._model,
                ),
            ).fetchone()
            if row is not None:
                db.executemany(
                    "INSERT INTO outbox (sink, frame_id, run_uid) VALUES (?, ?, ?)",
                    [(sink, row[0], prediction.key.run_uid) for sink in self._sinks],
                )

    # -- recovery --------------------------------------------------------------------------

    def run_uids(self) -> list[str]:
        """Give every known run, oldest first."""
        return [str(row[0]) for row in self._db.rows("SELECT uid FROM runs ORDER BY time, uid")]

    def unanswered(self) -> list[FrameReference]:
        """Give the frames that were seen and have no answer yet, in the order they were seen.

        What another model version has seen and not answered is this one's to answer.
        """
        with self._db.transaction() as db:
            db.execute(
                "UPDATE OR IGNORE frames SET model = ? WHERE verdict IS NULL AND role = ?",
                (self._model, SAMPLE),
            )
        rows = self._db.rows(
            "SELECT reference, image FROM frames WHERE role = ? AND verdict IS NULL "
            "AND model = ? ORDER BY id",
            SAMPLE,
            self._model,
        )
        return [reference_from_json(str(text), image) for text, image in rows]

    def kept_documents(self) -> list[tuple[str, Mapping[str, object]]]:
        """Give name and body of the documents kept of runs that are not closed, in order."""
        rows = self._db.rows("SELECT name, body FROM documents ORDER BY id")
        return [(str(name), json.loads(str(body))) for name, body in rows]

    def darks(self, run_uid: str) -> list[FrameReference]:
        """Give the dark frames of a run, in the order they were seen."""
        rows = self._db.rows(
            "SELECT reference, image FROM frames WHERE run_uid = ? AND role = ? "
            "GROUP BY stream, data_key, seq_num, idx ORDER BY MIN(id)",
            run_uid,
            DARK,
        )
        return [reference_from_json(str(text), image) for text, image in rows]

    # -- outbox ----------------------------------------------------------------------------

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
                "DELETE FROM outbox WHERE sink = ? AND frame_id = ?",
                [(sink, delivery.frame_id) for delivery in deliveries],
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

    def runs_to_open(self, sink: str) -> list[RunOpened]:
        """Give the runs that `sink` has not been told of, oldest first."""
        rows = self._db.rows(
            "SELECT uid, time, metadata FROM run_outbox JOIN runs ON uid = run_uid "
            "WHERE sink = ? AND what = ? ORDER BY time, uid",
            sink,
            _OPENED,
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
            _CLOSED,
            SAMPLE,
        )
        return [RunClosed(run_uid=str(uid), **json.loads(str(closed))) for uid, closed in rows]

    def run_opened(self, sink: str, run_uid: str) -> None:
        """Strike that a sink is to be told of a run's start."""
        self._strike_run(sink, run_uid, _OPENED)

    def run_closed(self, sink: str, run_uid: str) -> None:
        """Strike that a sink is to be told of a run's stop."""
        self._strike_run(sink, run_uid, _CLOSED)

    def _strike_run(self, sink: str, run_uid: str, what: str) -> None:
        with self._db.transaction() as db:
            db.execute(
                "DELETE FROM run_outbox WHERE sink = ? AND run_uid = ? AND what = ?",
                (sink, run_uid, what),
            )

    # -- books -----------------------------------------------------------------------------

    def account(self, run_uid: str | None = None) -> Account:
        """Count the sample frames of one run, or of all."""
        where, run = ("", ()) if run_uid is None else ("AND run_uid = ?", (run_uid,))
        rows = self._db.rows(
            f"SELECT verdict, COUNT(*) FROM frames WHERE role = ? {where} GROUP BY verdict",
            SAMPLE,
            *run,
        )
        waiting = self._db.rows(
            f"SELECT sink, COUNT(*) FROM outbox WHERE 1 {where} GROUP BY sink", *run
        )
        counts = {verdict: int(str(count)) for verdict, count in rows}
        undelivered = {str(sink): int(str(count)) for sink, count in waiting}
        seen, sized = sum(counts.values()), counts.get(Verdict.SIZED.value, 0)
        set_aside, unanswered = counts.get(Verdict.BAD_FRAME.value, 0), counts.get(None, 0)
        return Account(
            seen=seen,
            sized=sized,
            abstained=seen - sized - set_aside - unanswered,
            set_aside=set_aside,
            open=unanswered,
            delivered={s: seen - unanswered - undelivered.get(s, 0) for s in self._sinks},
        )

    def close(self) -> None:
        """Close the file; what was written stays."""
        self._db.close()
