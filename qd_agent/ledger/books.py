"""The books as an operator reads them: accounts, set-aside frames, what is asked of the agent.

Also used beside a running agent, from another process.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from qd_agent.core.frame import Declared
from qd_agent.core.prediction import Prediction, Verdict
from qd_agent.ledger.agenda import Agenda
from qd_agent.ledger.database import Database
from qd_agent.ledger.records import (
    Account,
    Request,
    RunRecord,
    SetAside,
    expected_by_stream,
    expected_frames,
    reference_from_json,
    reference_to_json,
)

SAMPLE, DARK = "sample", "dark"


class Books:
    """Accounts of runs and frames; safe to call from several threads and processes.

    Args:
        path: the ledger's file.
        sinks: names of the stores that every prediction must reach.
        migrate: whether a file of an earlier version may be brought up to date.
        patience_s: how long to wait for another process that writes.

    Attributes:
        agenda: the runs to be looked up in the archive.

    Raises:
        Fatal: the file cannot be used.
    """

    def __init__(
        self, path: Path, sinks: Sequence[str], *, migrate: bool = True, patience_s: float = 5.0
    ) -> None:
        self._sinks = tuple(sinks)
        self._db = Database(path, migrate=migrate, patience_s=patience_s)
        self.agenda = Agenda(self._db)

    @property
    def sinks(self) -> tuple[str, ...]:
        """Names of the stores that every prediction must reach."""
        return self._sinks

    def account(self, run_uid: str | None = None) -> Account:
        """Count the sample frames of one run, or of all."""
        if run_uid is None:
            rows = self._db.rows(
                "SELECT verdict, COUNT(*) FROM frames WHERE role = ? GROUP BY verdict", SAMPLE
            )
            waiting = self._db.rows("SELECT sink, COUNT(*) FROM outbox GROUP BY sink")
        else:
            rows = self._db.rows(
                "SELECT verdict, COUNT(*) FROM frames WHERE role = ? AND run_uid = ? "
                "GROUP BY verdict",
                SAMPLE,
                run_uid,
            )
            waiting = self._db.rows(
                "SELECT sink, COUNT(*) FROM outbox WHERE run_uid = ? GROUP BY sink", run_uid
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

    def run_uids(self) -> list[str]:
        """Give every known run, oldest first."""
        return [str(row[0]) for row in self._db.rows("SELECT uid FROM runs ORDER BY time, uid")]

    def knows(self, run_uid: str) -> bool:
        """Tell whether a run is in the books."""
        return bool(self._db.rows("SELECT 1 FROM runs WHERE uid = ?", run_uid))

    def latest_runs(self, count: int) -> list[str]:
        """Give the `count` runs that started last, the latest first."""
        rows = self._db.rows("SELECT uid FROM runs ORDER BY time DESC, uid LIMIT ?", count)
        return [str(row[0]) for row in rows]

    def runs(self, run_uid: str | None = None) -> list[RunRecord]:
        """Give the account of every known run (or of one), oldest first."""
        rows = self._db.rows(
            "SELECT uid, time, closed, note, checked FROM runs WHERE ? IS NULL OR uid = ? "
            "ORDER BY time, uid",
            run_uid,
            run_uid,
        )
        return [self._run_record(*row) for row in rows]

    def _run_record(
        self, uid: object, when: object, closed: object, note: object, checked: object
    ) -> RunRecord:
        stop: Mapping[str, object] = {} if closed is None else json.loads(str(closed))
        return RunRecord(
            uid=str(uid),
            time=float(str(when)),
            exit_status=None if closed is None else str(stop["exit_status"]),
            expected=None if closed is None else expected_frames(stop),
            account=self.account(str(uid)),
            note=str(note),
            checked=float(str(checked)),
            assumed=bool(stop.get("assumed")),
            missing=self._missing(str(uid), expected_by_stream(stop)),
        )

    def _missing(self, run_uid: str, expected: Mapping[str, tuple[int, int]]) -> int:
        """Count what was announced (events and their frames, by stream) and was never seen."""
        unseen = {stream: frames for stream, (_, frames) in expected.items()}
        if not unseen:
            return 0  # of an open run nobody knows yet
        for stream, seq_num, count in self._db.rows(
            "SELECT stream, seq_num, COUNT(*) FROM (SELECT DISTINCT stream, data_key, seq_num, idx "
            "FROM frames WHERE run_uid = ?) GROUP BY stream, seq_num",
            run_uid,
        ):
            events, frames = expected.get(str(stream), (0, 0))
            if 1 <= int(str(seq_num)) <= events:
                unseen[str(stream)] -= min(int(str(count)), frames // events)
        return sum(unseen.values())

    def note(self, run_uid: str, note: str) -> None:
        """Write down what was found when an open run was looked into."""
        with self._db.transaction() as db:
            db.execute(
                "UPDATE runs SET note = ?, checked = ? WHERE uid = ?", (note, time.time(), run_uid)
            )

    # -- set-aside frames ------------------------------------------------------------------

    def predictions(self, run_uid: str) -> list[Prediction]:
        """Give what was answered to the frames of a run, in the order of stream and number."""
        rows = self._db.rows(
            "SELECT prediction FROM frames WHERE run_uid = ? AND role = ? AND verdict IS NOT NULL "
            "ORDER BY stream, data_key, seq_num, idx",
            run_uid,
            SAMPLE,
        )
        return [Prediction.model_validate_json(str(row[0])) for row in rows]

    def set_aside(self, run_uid: str | None = None, seq_num: int | None = None) -> list[SetAside]:
        """Give the frames that were set aside, in the order in which they were seen."""
        rows = self._db.rows(
            "SELECT run_uid, stream, data_key, seq_num, idx, revision, prediction FROM frames "
            "WHERE role = ? AND verdict = ? AND (? IS NULL OR run_uid = ?) "
            "AND (? IS NULL OR seq_num = ?) ORDER BY id",
            SAMPLE,
            Verdict.BAD_FRAME.value,
            run_uid,
            run_uid,
            seq_num,
            seq_num,
        )
        return [
            SetAside(
                run_uid=str(run),
                stream=str(stream),
                data_key=str(data_key),
                seq_num=int(str(seq)),
                index=int(str(index)),
                revision=int(str(revision)),
                reason=str(_field(prediction, "reason")),
                time=float(str(_field(prediction, "publication_time"))),
                flags=tuple(cast("list[str]", _field(prediction, "flags"))),
            )
            for run, stream, data_key, seq, index, revision, prediction in rows
        ]

    def retry(
        self,
        run_uid: str | None = None,
        seq_num: int | None = None,
        judge: Callable[[Declared], Declared] = lambda declared: declared,
    ) -> int:
        """Open set-aside frames again; the agent takes them up. Gives how many there are.

        Their record stays in the stores until there is a new one, which replaces it.

        Args:
            run_uid: of this run only.
            seq_num: of this number only.
            judge: says anew what is declared of each.
        """
        with self._db.transaction() as db:
            ids = db.execute(
                "UPDATE frames SET verdict = NULL, begun = 0, tries = 0, late = 0, due = ?, "
                "revision = revision + 1 WHERE role = ? AND verdict = ? "
                "AND (? IS NULL OR run_uid = ?) AND (? IS NULL OR seq_num = ?) "
                # Of a frame that several model versions have answered, the latest one counts.
                "AND id = (SELECT MAX(o.id) FROM frames AS o WHERE o.run_uid = frames.run_uid "
                "AND o.stream = frames.stream AND o.data_key = frames.data_key "
                "AND o.seq_num = frames.seq_num AND o.idx = frames.idx) RETURNING id",
                (
                    time.time(),
                    SAMPLE,
                    Verdict.BAD_FRAME.value,
                    run_uid,
                    run_uid,
                    seq_num,
                    seq_num,
                ),
            ).fetchall()
            db.executemany("DELETE FROM outbox WHERE frame_id = ?", ids)
            for (frame_id,) in ids:
                _judge(db, int(frame_id), judge)
        return len(ids)

    # -- requests --------------------------------------------------------------------------

    def ask(self, run_uid: str | None) -> int:
        """Ask the agent to look into a run, or into all; give the number of the request."""
        with self._db.transaction() as db:
            cursor = db.execute(
                "INSERT INTO requests (run_uid, asked) VALUES (?, ?)", (run_uid, time.time())
            )
            return int(cursor.lastrowid or 0)

    def answer_to(self, request: int) -> str | None:
        """Give what the agent has answered to a request, or None so far."""
        rows = self._db.rows("SELECT answer FROM requests WHERE id = ?", request)
        return str(rows[0][0]) if rows and rows[0][0] is not None else None

    def next_request(self) -> Request | None:
        """Give the oldest request that is not answered."""
        rows = self._db.rows(
            "SELECT id, run_uid FROM requests WHERE answered IS NULL ORDER BY id LIMIT 1"
        )
        if not rows:
            return None
        number, run_uid = rows[0]
        return Request(int(str(number)), None if run_uid is None else str(run_uid))

    def answer_request(self, request: int, answer: str) -> None:
        """Write down what came of a request; the last hundred are kept."""
        with self._db.transaction() as db:
            db.execute(
                "UPDATE requests SET answered = ?, answer = ? WHERE id = ?",
                (time.time(), answer, request),
            )
            db.execute("DELETE FROM requests WHERE id <= ?", (request - 100,))

    def close(self) -> None:
        """Close the file; what was written stays."""
        self._db.close()


def _field(prediction: object, name: str) -> object:
    return json.loads(str(prediction))[name]


def _judge(db: sqlite3.Connection, frame_id: int, judge: Callable[[Declared], Declared]) -> None:
    """Write down anew what is declared of a frame, where that has changed."""
    ((text,),) = db.execute("SELECT reference FROM frames WHERE id = ?", (frame_id,)).fetchall()
    reference = reference_from_json(str(text), None)
    judged = replace(reference, declared=judge(reference.declared))
    if judged != reference:
        told = reference_to_json(judged)
        db.execute("UPDATE frames SET reference = ? WHERE id = ?", (told, frame_id))
