"""Old runs leave the ledger; nothing does that a store has still to be told."""

from __future__ import annotations

import time

from qd_agent.ledger.agenda import PRUNED
from qd_agent.ledger.books import SAMPLE
from qd_agent.ledger.database import Database
from qd_agent.ledger.settings import LedgerSettings

_GIB = 2**30
_DONE = (
    "SELECT uid FROM runs WHERE closed IS NOT NULL "
    "AND NOT EXISTS (SELECT 1 FROM outbox AS o WHERE o.run_uid = uid) "
    "AND NOT EXISTS (SELECT 1 FROM run_outbox AS r WHERE r.run_uid = uid) "
    "AND NOT EXISTS (SELECT 1 FROM frames AS f WHERE f.role = ? AND f.run_uid = uid "
    "AND f.verdict IS NULL) "
)


def prune(database: Database, settings: LedgerSettings, now: float | None = None) -> list[str]:
    """Delete old runs that have stopped and are delivered everywhere; give their uids.

    Args:
        database: the ledger's file.
        settings: how long and how much to keep.
        now: UTC epoch s.

    Raises:
        Fatal: the file cannot be written.
    """
    limit = (time.time() if now is None else now) - 86400.0 * settings.keep_days
    old = database.rows(_DONE + "AND time < ? ORDER BY time, uid", SAMPLE, limit)
    gone = [uid for uid in (str(row[0]) for row in old) if _delete(database, uid)]
    while _used(database) > settings.keep_gib * _GIB:
        oldest = database.rows(_DONE + "ORDER BY time, uid LIMIT 1", SAMPLE)
        if not oldest:
            break
        if _delete(database, str(oldest[0][0])):
            gone.append(str(oldest[0][0]))
    return gone


def _delete(database: Database, run_uid: str) -> bool:
    """Delete a run; False where that must not be any more, as somebody has it tried anew."""
    with database.transaction() as db:
        if db.execute(_DONE + "AND uid = ?", (SAMPLE, run_uid)).fetchone() is None:
            return False
        db.execute("DELETE FROM frames WHERE run_uid = ?", (run_uid,))
        db.execute("DELETE FROM documents WHERE run_uid = ?", (run_uid,))
        db.execute("DELETE FROM looks WHERE run_uid = ?", (run_uid,))
        # The catalog of raw runs still lists it: it must not come back as one never heard of.
        db.execute(
            "INSERT INTO marks (name, value) SELECT ?, time FROM runs WHERE uid = ? ON CONFLICT "
            "DO UPDATE SET value = MAX(CAST(value AS REAL), CAST(excluded.value AS REAL))",
            (PRUNED, run_uid),
        )
        db.execute("DELETE FROM runs WHERE uid = ?", (run_uid,))
        return True


def _used(database: Database) -> int:
    """Give the bytes in use; SQLite fills the pages that deletions have freed before it grows."""
    pages = int(str(database.rows("PRAGMA page_count")[0][0]))
    free = int(str(database.rows("PRAGMA freelist_count")[0][0]))
    return (pages - free) * int(str(database.rows("PRAGMA page_size")[0][0]))
