"""Which runs are to be looked up in the archive again, and when: on disk, so that a restart knows.

A run is on the agenda while its books are not whole, and from the moment at which the catalog of
raw runs named it without any document of it having come.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from qd_agent.ledger.database import Database

_LOOK = "SELECT run_uid, began, tries, due, reason FROM looks "
FIRST_START, NEWEST, PRUNED = "first start", "newest in the catalog", "pruned up to"


@dataclass(frozen=True, slots=True)
class Look:
    """A run to be looked up.

    Attributes:
        run_uid: the run.
        began: since when, UTC epoch s.
        tries: how often it was looked up in vain since something was found.
        due: when it is next, UTC epoch s; None: given up.
        reason: what came of the latest look.
    """

    run_uid: str
    began: float
    tries: int = 0
    due: float | None = None
    reason: str = ""


class Agenda:
    """The runs to be looked up, and how far the catalog was read; part of the ledger's file."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, run_uid: str, now: float) -> None:
        """Have a run looked up now, whatever was planned for it."""
        with self._db.transaction() as db:
            db.execute(
                "INSERT INTO looks (run_uid, began, due) VALUES (?, ?, ?) "
                "ON CONFLICT DO UPDATE SET due = excluded.due",
                (run_uid, now, now),
            )

    def due(self, now: float, limit: int) -> list[Look]:
        """Give at most `limit` runs whose time has come, the longest overdue first."""
        rows = self._db.rows(
            _LOOK + "WHERE due IS NOT NULL AND due <= ? ORDER BY due, run_uid LIMIT ?", now, limit
        )
        return [_look(row) for row in rows]

    def put_off(
        self,
        run_uid: str,
        due: float | None,
        reason: str,
        *,
        asked: bool = True,
        found_at: float | None = None,
    ) -> None:
        """Write down when a run is looked up next, and why it has to be.

        Args:
            run_uid: the run.
            due: UTC epoch s; None: never.
            reason: what came of this look.
            asked: whether it was one; an archive that is away has not been asked.
            found_at: UTC epoch s if it brought something; age and vain looks then begin anew.
        """
        with self._db.transaction() as db:
            db.execute(
                "UPDATE looks SET due = ?, reason = ?, tries = tries + ? WHERE run_uid = ?",
                (due, reason, int(asked), run_uid),
            )
            if found_at is not None:
                db.execute(
                    "UPDATE looks SET tries = 0, began = ? WHERE run_uid = ?",
                    (found_at, run_uid),
                )

    def drop(self, run_uid: str) -> None:
        """Take a run off: its books are whole, or it is none of ours."""
        with self._db.transaction() as db:
            db.execute("DELETE FROM looks WHERE run_uid = ?", (run_uid,))

    def get(self, run_uid: str) -> Look | None:
        """Give what is planned for a run; None when it is not on the agenda."""
        rows = self._db.rows(_LOOK + "WHERE run_uid = ?", run_uid)
        return _look(rows[0]) if rows else None

    def all(self) -> dict[str, Look]:
        """Give every run that is on it, also those given up, by uid."""
        return {look.run_uid: look for look in map(_look, self._db.rows(_LOOK + "ORDER BY began"))}

    # -- how far the catalog was read ------------------------------------------------------

    def strangers(self, run_uids: Collection[str]) -> list[str]:
        """Give those of the runs that are neither in the books nor on the agenda, in order."""
        asked = json.dumps(list(run_uids))
        rows = self._db.rows(
            "SELECT value FROM json_each(?) WHERE value NOT IN (SELECT uid FROM runs) "
            "AND value NOT IN (SELECT run_uid FROM looks)",
            asked,
        )
        return [str(row[0]) for row in rows]

    def newest(self) -> list[str]:
        """Give the runs that stood first in the catalog when it was last read to the end."""
        text = self._mark(NEWEST)
        return [] if text is None else [str(uid) for uid in json.loads(text)]

    def read_up_to(self, newest: Sequence[str]) -> None:
        """Write down which runs stood first in a catalog that was read to the end."""
        with self._db.transaction() as db:
            db.execute(
                "INSERT INTO marks (name, value) VALUES (?, ?) "
                "ON CONFLICT DO UPDATE SET value = excluded.value",
                (NEWEST, json.dumps(list(newest))),
            )

    @property
    def first_start(self) -> float:
        """UTC epoch s at which these books were begun."""
        return float(self._mark(FIRST_START) or 0.0)

    @property
    def pruned_up_to(self) -> float:
        """Start of the newest run that has left the ledger, UTC epoch s; 0 when none has."""
        return float(self._mark(PRUNED) or 0.0)

    def _mark(self, name: str) -> str | None:
        rows = self._db.rows("SELECT value FROM marks WHERE name = ?", name)
        return str(rows[0][0]) if rows else None


def _look(row: tuple[object, ...]) -> Look:
    run_uid, began, tries, due, reason = row
    return Look(
        str(run_uid),
        float(str(began)),
        int(str(tries)),
        None if due is None else float(str(due)),
        str(reason),
    )
