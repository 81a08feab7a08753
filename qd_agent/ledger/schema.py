"""The tables of the ledger, and how a file of an earlier version becomes one of this."""

from __future__ import annotations

import sqlite3

VERSION = 3

_TABLES = """
CREATE TABLE runs (
    uid TEXT PRIMARY KEY, time REAL NOT NULL, metadata TEXT NOT NULL, closed TEXT
) STRICT;
CREATE TABLE frames (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run_uid TEXT NOT NULL, stream TEXT NOT NULL, data_key TEXT NOT NULL,
    seq_num INTEGER NOT NULL, idx INTEGER NOT NULL, model TEXT NOT NULL,
    role TEXT NOT NULL, reference TEXT NOT NULL, image BLOB, begun INTEGER NOT NULL DEFAULT 0,
    verdict TEXT, prediction TEXT, intensity BLOB, explanation BLOB,
    UNIQUE (run_uid, stream, data_key, seq_num, idx, model)
) STRICT;
CREATE INDEX frames_open ON frames (role, run_uid) WHERE verdict IS NULL;
CREATE INDEX frames_counted ON frames (role, run_uid, verdict);
CREATE INDEX frames_by_verdict ON frames (role, verdict);
CREATE TABLE outbox (
    sink TEXT NOT NULL, frame_id INTEGER NOT NULL, run_uid TEXT NOT NULL,
    PRIMARY KEY (sink, frame_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX outbox_frame ON outbox (frame_id);
CREATE TABLE documents (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run_uid TEXT NOT NULL, name TEXT NOT NULL, uid TEXT NOT NULL, body TEXT NOT NULL,
    UNIQUE (name, uid)
) STRICT;
CREATE TABLE run_outbox (
    sink TEXT NOT NULL, run_uid TEXT NOT NULL, what TEXT NOT NULL,
    PRIMARY KEY (sink, run_uid, what)
) STRICT, WITHOUT ROWID;
"""
"""Version 1. Later versions are made by the steps below, so that each step is used and tested."""

_STEPS = {
    # Retries live on disk: how often a frame was tried (`tries`, of these `late` after its run
    # had stopped), when it is next (`due`, UTC epoch s, 0 for a frame never tried), and how often
    # its answer was asked for anew (`revision`). `note` says what is known of an open run.
    2: """
ALTER TABLE frames ADD COLUMN tries INTEGER NOT NULL DEFAULT 0;
ALTER TABLE frames ADD COLUMN late INTEGER NOT NULL DEFAULT 0;
ALTER TABLE frames ADD COLUMN due REAL NOT NULL DEFAULT 0;
ALTER TABLE frames ADD COLUMN seen_at REAL NOT NULL DEFAULT 0;
ALTER TABLE frames ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
ALTER TABLE outbox ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN note TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN checked REAL NOT NULL DEFAULT 0;
CREATE INDEX frames_todo ON frames (role, due, id) WHERE verdict IS NULL;
CREATE INDEX outbox_run ON outbox (run_uid);
CREATE TABLE requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT, run_uid TEXT, asked REAL NOT NULL,
    answered REAL, answer TEXT
) STRICT;
""",
    # Looks at the archive live on disk too. Of the catalog of raw runs, only those count that
    # started after these books were begun; of books from before, after their newest run.
    3: """
CREATE TABLE looks (
    run_uid TEXT PRIMARY KEY, began REAL NOT NULL, tries INTEGER NOT NULL DEFAULT 0, due REAL,
    reason TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX looks_due ON looks (due) WHERE due IS NOT NULL;
CREATE TABLE marks (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
INSERT INTO marks (name, value) VALUES (
    'first start',
    (SELECT COALESCE(MAX(time), (julianday('now') - 2440587.5) * 86400.0) FROM runs)
);
""",
}


def version_of(connection: sqlite3.Connection) -> int:
    """Give the version of a file; 0 for a new one."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def bring_up_to_date(connection: sqlite3.Connection) -> None:
    """Make the tables, or change those of an earlier version; all in one transaction.

    Raises:
        sqlite3.Error: the file cannot be written, or is no ledger.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = version_of(connection)  # again: another process may have been faster
        steps = [text for number, text in sorted(_STEPS.items()) if number > version]
        for text in steps if version else [_TABLES, *steps]:
            for statement in filter(None, map(str.strip, text.split(";"))):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
