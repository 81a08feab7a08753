"""The books in one SQLite file, as the agent keeps them.

A frame is written down before it is sized, its prediction (with an outbox entry for each sink)
before it is delivered. The frames that wait for their answer, or for another try, are rows too:
nothing waits in memory alone, so memory stays flat and a killed agent forgets nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from qd_agent.core.frame import FrameKey, FrameReference, RunClosed, RunOpened
from qd_agent.core.prediction import Prediction, Verdict
from qd_agent.ledger.books import DARK, SAMPLE
from qd_agent.ledger.outbox import CLOSED, OPENED, Outbox
from qd_agent.ledger.pruning import prune
from qd_agent.ledger.records import (
    Todo,
    array_to_bytes,
    identity,
    plain_json,
    reference_from_json,
    reference_to_json,
    stop_to_json,
)
from qd_agent.ledger.settings import LedgerSettings

_KEY = "run_uid = ? AND stream = ? AND data_key = ? AND seq_num = ? AND idx = ? AND model = ?"
_TODO = (
    "SELECT reference, image, tries, late, revision, model, id, "
    "EXISTS (SELECT 1 FROM runs WHERE uid = run_uid AND closed IS NOT NULL) "
    "FROM frames WHERE role = ? AND verdict IS NULL AND "
)
LONGEST_WAIT_S = 3600.0
"""Longest wait between two tries of a frame; what waits for longer was put off by a wrong clock."""


class Ledger(Outbox):
    """The books; safe to call from several threads.

    Args:
        path: the SQLite file (WAL mode); made when missing, with its folder.
        model: name of the model version that answers what has no answer yet.
        sinks: names of the stores that every prediction must reach.
        patience_s: how long to wait for another process that writes.

    Raises:
        Fatal: the file cannot be opened, is no ledger, or the disk is full.
    """

    def __init__(
        self, path: Path, model: str, sinks: Sequence[str], *, patience_s: float = 5.0
    ) -> None:
        super().__init__(path, sinks, patience_s=patience_s)
        self._model = model

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
        was changed has one answer for each frame, not two.
        """
        image = None if reference.array is None else array_to_bytes(reference.array)
        key = identity(reference.key)
        with self._db.transaction() as db:
            cursor = db.execute(
                "INSERT INTO frames (run_uid, stream, data_key, seq_num, idx, model, role, "
                "reference, image, seen_at) SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ? WHERE NOT EXISTS "
                "(SELECT 1 FROM frames WHERE run_uid = ? AND stream = ? AND data_key = ? "
                "AND seq_num = ? AND idx = ? AND verdict IS NOT NULL) ON CONFLICT DO NOTHING",
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

    def put_off(self, todo: Todo, due: float, *, counts: bool = True) -> None:
        """Write down that a frame was not readable, and when it is tried again (UTC epoch s).

        Args:
            todo: the frame.
            due: when.
            counts: whether it counts as a try after its run's stop, of which there are few.
        """
        with self._db.transaction() as db:
            db.execute(
                "UPDATE frames SET begun = 0, tries = tries + 1, late = late + ?, due = ? "
                f"WHERE {_KEY}",
                (int(todo.stopped and counts), due, *identity(todo.reference.key), self._model),
            )

    def put_back(self, key: FrameKey) -> None:
        """Take back that a frame was begun: the agent was told to stop, nothing else is wrong."""
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
                # The pixels of a set-aside frame stay, since it may be tried anew.
                f"image = CASE WHEN ? THEN image END WHERE {_KEY} AND verdict IS NULL "
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

    # -- what is to be done ----------------------------------------------------------------

    def adopt(self) -> int:
        """Take over what another model version has left unanswered; give how many frames wait.

        Frames whose next try lies further off than `LONGEST_WAIT_S` are due now: a clock was set.
        """
        now = time.time()
        with self._db.transaction() as db:
            db.execute(
                "UPDATE OR IGNORE frames SET model = ? WHERE verdict IS NULL AND role = ?",
                (self._model, SAMPLE),
            )
            # What is left was seen again under this model.
            db.execute(
                "DELETE FROM frames WHERE verdict IS NULL AND role = ? AND model <> ?",
                (SAMPLE, self._model),
            )
            db.execute(
                "UPDATE frames SET due = ? WHERE verdict IS NULL AND role = ? AND due > ?",
                (now, SAMPLE, now + LONGEST_WAIT_S),
            )
        return self.waiting()[0]

    def next_frame(self, *, newest_first: bool, run_uid: str | None = None) -> Todo | None:
        """Give a frame (of one run) that was never tried, the newest or the oldest one."""
        order = "DESC" if newest_first else "ASC"
        return self._todo(run_uid, f"due = 0 AND begun = 0 ORDER BY id {order} LIMIT 1")

    def next_retry(self, now: float, run_uid: str | None = None) -> Todo | None:
        """Give the frame (of one run) that is the longest overdue at `now`, UTC epoch s."""
        return self._todo(run_uid, "due > 0 AND due <= ? AND begun = 0 ORDER BY due LIMIT 1", now)

    def next_interrupted(self, now: float, run_uid: str | None = None) -> Todo | None:
        """Give a frame that was in hand when a process ended, the least often interrupted one.

        It may be what ended it, so it is for when the other frames (of one run) are answered.
        """
        return self._todo(run_uid, "due <= ? AND begun > 0 ORDER BY begun, id LIMIT 1", now)

    def _todo(self, run_uid: str | None, condition: str, *values: object) -> Todo | None:
        if run_uid is not None:
            condition, values = f"run_uid = ? AND {condition}", (run_uid, *values)
        rows = self._db.rows(_TODO + condition, SAMPLE, *values)
        if not rows:
            return None
        text, image, tries, late, revision, model, frame_id, stopped = rows[0]
        if model != self._model:  # asked for anew, and answered by another model before
            with self._db.transaction() as db:
                db.execute(
                    "UPDATE OR REPLACE frames SET model = ? WHERE id = ?", (self._model, frame_id)
                )
        return Todo(
            reference_from_json(str(text), image),
            tries=int(str(tries)),
            late=int(str(late)),
            stopped=bool(stopped),
            revision=int(str(revision)),
        )

    def waiting(self) -> tuple[int, int, float]:
        """Count the frames to be answered, those of them that are away, and the seconds behind.

        Behind is how long ago the oldest frame was seen that nobody has tried yet.
        """
        rows = self._db.rows(
            "SELECT due > 0, COUNT(*), MIN(seen_at) FROM frames WHERE role = ? "
            "AND verdict IS NULL GROUP BY due > 0",
            SAMPLE,
        )
        counts = {bool(away): int(str(count)) for away, count, _ in rows}
        since = next((float(str(seen)) for away, _, seen in rows if not away), None)
        behind = 0.0 if since is None else max(0.0, time.time() - since)
        return sum(counts.values()), counts.get(True, 0), behind

    def any_away(self, run_uid: str) -> bool:
        """Tell whether a frame of a run waits for another try."""
        return bool(
            self._db.rows(
                "SELECT 1 FROM frames WHERE role = ? AND run_uid = ? AND verdict IS NULL "
                "AND tries > 0 LIMIT 1",
                SAMPLE,
                run_uid,
            )
        )

    def is_waiting(self, run_uid: str) -> bool:
        """Tell whether a frame of a run waits for its answer."""
        return bool(
            self._db.rows(
                "SELECT 1 FROM frames WHERE role = ? AND run_uid = ? AND verdict IS NULL LIMIT 1",
                SAMPLE,
                run_uid,
            )
        )

    def runs_with_work(self) -> set[str]:
        """Give the runs of which a frame waits for its answer."""
        rows = self._db.rows(
            "SELECT DISTINCT run_uid FROM frames WHERE role = ? AND verdict IS NULL", SAMPLE
        )
        return {str(row[0]) for row in rows}

    def prune(self, settings: LedgerSettings) -> list[str]:
        """Delete old runs that are done with; give their uids. Raises Fatal as every writing."""
        return prune(self._db, settings)

    # -- recovery --------------------------------------------------------------------------

    def unanswered(self) -> list[FrameReference]:
        """Give the frames that were seen and have no answer yet, in the order they were seen."""
        self.adopt()
        rows = self._db.rows(
            "SELECT reference, image FROM frames WHERE role = ? AND verdict IS NULL ORDER BY id",
            SAMPLE,
        )
        return [reference_from_json(str(text), image) for text, image in rows]

    def kept_documents(self) -> list[tuple[str, Mapping[str, object]]]:
        """Give name and body of the documents kept of runs that are not closed, in order."""
        rows = self._db.rows("SELECT name, body FROM documents ORDER BY id")
        return [(str(name), json.loads(str(body))) for name, body in rows]

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
