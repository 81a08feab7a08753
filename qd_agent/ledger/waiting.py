"""The frames that wait for their answer, or for another try: which one is next, and when.

They are rows of the ledger, so a killed agent forgets none, and memory stays flat.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from qd_agent.core.frame import FrameKey, FrameReference
from qd_agent.ledger.books import SAMPLE
from qd_agent.ledger.outbox import Outbox
from qd_agent.ledger.records import Todo, identity, reference_from_json

FRAME = "run_uid = ? AND stream = ? AND data_key = ? AND seq_num = ? AND idx = ? AND model = ?"
_TODO = (
    "SELECT reference, image, tries, late, revision, model, id, "
    "EXISTS (SELECT 1 FROM runs WHERE uid = run_uid AND closed IS NOT NULL) "
    "FROM frames WHERE role = ? AND verdict IS NULL AND "
)
LONGEST_WAIT_S = 3600.0
"""Longest wait between two tries of a frame; what waits for longer was put off by a wrong clock."""


class Waiting(Outbox):
    """The books and deliveries, and the order of what is to be answered.

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

    def begin(self, key: FrameKey) -> int:
        """Count that a frame is about to be read; give how often it was and never came back.

        A frame that takes the process with it would otherwise do so at each restart.
        """
        with self._db.transaction() as db:
            row = db.execute(
                f"UPDATE frames SET begun = begun + 1 WHERE {FRAME} RETURNING begun - 1",
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
                f"WHERE {FRAME}",
                (int(todo.stopped and counts), due, *identity(todo.reference.key), self._model),
            )

    def put_back(self, key: FrameKey) -> None:
        """Take back that a frame was begun: the agent was told to stop, nothing else is wrong."""
        with self._db.transaction() as db:
            db.execute(f"UPDATE frames SET begun = 0 WHERE {FRAME}", (*identity(key), self._model))

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

    def unanswered(self) -> list[FrameReference]:
        """Give the frames that were seen and have no answer yet, in the order they were seen."""
        self.adopt()
        rows = self._db.rows(
            "SELECT reference, image FROM frames WHERE role = ? AND verdict IS NULL ORDER BY id",
            SAMPLE,
        )
        return [reference_from_json(str(text), image) for text, image in rows]
