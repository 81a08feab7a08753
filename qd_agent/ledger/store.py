"""The books in one SQLite file, as the agent keeps them.

A frame is written down before it is sized, its prediction (with an outbox entry for each sink)
before it is delivered. Nothing waits in memory alone, so a killed agent forgets nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from qd_agent.core.frame import FrameKey, FrameReference, RunClosed, RunOpened
from qd_agent.core.prediction import Prediction, Verdict
from qd_agent.ledger.books import DARK, SAMPLE
from qd_agent.ledger.outbox import CLOSED, OPENED
from qd_agent.ledger.pruning import prune
from qd_agent.ledger.records import (
    array_to_bytes,
    identity,
    plain_json,
    reference_from_json,
    reference_to_json,
    stop_to_json,
)
from qd_agent.ledger.settings import LedgerSettings
from qd_agent.ledger.waiting import FRAME, Waiting


class Ledger(Waiting):
    """The books; safe to call from several threads. Arguments and errors are those of `Waiting`."""

    @contextmanager
    def together(self) -> Generator[None]:
        """Write all that the block writes at once, or nothing: one wait for the disk, not many."""
        with self._db.transaction():
            yield

    # -- intake ----------------------------------------------------------------------------

    def open_run(self, run: RunOpened) -> bool:
        """Write down that a run started; metadata that were missing before are filled in.

        Gives False when nothing of it was new.
        """
        metadata = plain_json(run.metadata)
        with self._db.transaction() as db:
            cursor = db.execute(
                "INSERT INTO runs (uid, time, metadata) VALUES (?, ?, ?) ON CONFLICT (uid) DO "
                "UPDATE SET metadata = excluded.metadata, time = excluded.time "
                "WHERE runs.metadata = '{}' AND excluded.metadata <> '{}'",
                (run.run_uid, run.time, metadata),
            )
            if cursor.rowcount == 1:
                self.announce(db, run.run_uid, OPENED)
            return cursor.rowcount == 1

    def close_run(self, run: RunClosed) -> bool:
        """Write down that a run stopped, with what it says it counted.

        A repeat is ignored, and gives False.
        """
        with self._db.transaction() as db:
            cursor = db.execute(
                "UPDATE runs SET closed = ? WHERE uid = ? AND closed IS NULL",
                (stop_to_json(run), run.run_uid),
            )
            if cursor.rowcount == 1:
                self.announce(db, run.run_uid, CLOSED)
                # What was not readable while the run went on may be so now.
                db.execute(
                    "UPDATE frames SET due = ? WHERE run_uid = ? AND verdict IS NULL AND due > 0",
                    (time.time(), run.run_uid),
                )
            db.execute("DELETE FROM documents WHERE run_uid = ?", (run.run_uid,))
            return cursor.rowcount == 1

    def correct_run(self, run: RunClosed) -> bool:
        """Let a stop that knows more than the one written down take its place; else give False.

        It knows more when that one was only assumed, or did not know the layout of a stream and
        so how many frames an event has.
        """
        with self._db.transaction() as db:
            row = db.execute(
                "SELECT closed FROM runs WHERE uid = ? AND closed IS NOT NULL", (run.run_uid,)
            ).fetchone()
            if row is None or run.assumed:
                return False
            before = json.loads(row[0])
            news = run.frames.keys() - before["frames"].keys()
            if not before.get("assumed") and not (news and run.expected == before["expected"]):
                return False
            db.execute("UPDATE runs SET closed = ? WHERE uid = ?", (stop_to_json(run), run.run_uid))
            self.announce(db, run.run_uid, CLOSED)
            return True

    def keep_document(self, run_uid: str, name: str, doc: Mapping[str, object]) -> None:
        """Keep a document that later ones refer to, until its run is closed."""
        with self._db.transaction() as db:
            db.execute(
                "INSERT INTO documents (run_uid, name, uid, body) SELECT ?, ?, ?, ? "
                "WHERE NOT EXISTS (SELECT 1 FROM runs WHERE uid = ? AND closed IS NOT NULL) "
                "ON CONFLICT DO NOTHING",
                (run_uid, name, _name_of(doc), plain_json(doc), run_uid),
            )

    def see(self, reference: FrameReference, role: str = SAMPLE) -> bool:
        """Write a frame down before anything is done with it; False when it is known already.

        One that another model version has answered is known: a run that was open while the model
        was changed has one answer for each frame, not two. So is one that is to be answered anew.
        """
        image = None if reference.array is None else array_to_bytes(reference.array)
        key = identity(reference.key)
        with self._db.transaction() as db:
            cursor = db.execute(
                "INSERT INTO frames (run_uid, stream, data_key, seq_num, idx, model, role, "
                "reference, image, seen_at) SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ? WHERE NOT EXISTS "
                "(SELECT 1 FROM frames WHERE run_uid = ? AND stream = ? AND data_key = ? "
                "AND seq_num = ? AND idx = ? AND (verdict IS NOT NULL OR revision > 0)) "
                "ON CONFLICT DO NOTHING",
                (
                    *key,
                    self._model,
                    role,
                    reference_to_json(reference),
                    image,
                    time.time(),
                    *key,
                ),
            )
            return cursor.rowcount == 1

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
                # The pixels of a set-aside frame stay, since it may be tried anew.
                f"image = CASE WHEN ? THEN image END WHERE {FRAME} AND verdict IS NULL "
                "AND revision = ? RETURNING id",
                (
                    prediction.verdict.value,
                    prediction.model_dump_json(),
                    None if intensity is None else intensity.astype("<f4").tobytes(),
                    None if model is None else model.astype("<f4").tobytes(),
                    prediction.verdict is Verdict.BAD_FRAME,
                    *identity(prediction.key),
                    self._model,
                    prediction.revision,
                ),
            ).fetchone()
            if row is not None:
                self.owe(db, row[0], prediction.key.run_uid, prediction.revision)

    def prune(self, settings: LedgerSettings) -> list[str]:
        """Delete old runs that are done with; give their uids. Raises Fatal as every writing."""
        return prune(self._db, settings)

    # -- recovery --------------------------------------------------------------------------

    def kept_documents(self) -> list[tuple[str, Mapping[str, object]]]:
        """Give name and body of the documents kept of runs that are not closed, in order."""
        rows = self._db.rows("SELECT name, body FROM documents ORDER BY id")
        return [(str(name), json.loads(str(body))) for name, body in rows]

    def taken(self) -> list[tuple[FrameKey, float]]:
        """Give key and time (UTC epoch s) of every frame of runs that are not closed, in order."""
        rows = self._db.rows(
            "SELECT reference FROM frames WHERE run_uid IN (SELECT uid FROM runs WHERE closed IS "
            "NULL) ORDER BY id"
        )
        references = (reference_from_json(str(text), None) for (text,) in rows)
        return [(reference.key, reference.time) for reference in references]

    def darks(self, run_uid: str) -> list[FrameReference]:
        """Give the dark frames of a run, in the order they were seen."""
        return self.frames(run_uid, (DARK,))

    def frames(self, run_uid: str, roles: Sequence[str] = (SAMPLE, DARK)) -> list[FrameReference]:
        """Give the frames of a run, in the order they were seen.

        Pixels that came with their event are there as long as the frame waits for its answer.
        """
        rows = self._db.rows(
            "SELECT reference, image FROM frames WHERE run_uid = ? AND role IN "
            f"({', '.join('?' * len(roles))}) "
            "GROUP BY stream, data_key, seq_num, idx ORDER BY MIN(id)",
            run_uid,
            *roles,
        )
        return [reference_from_json(str(text), image) for text, image in rows]


def _name_of(doc: Mapping[str, object]) -> str:
    """Give what tells a document from others of its kind; a page goes by its first datum."""
    ids = doc.get("uid", doc.get("datum_id"))
    return str(ids[0]) if isinstance(ids, list) and ids else str(ids)
