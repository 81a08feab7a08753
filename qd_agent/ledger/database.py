"""The ledger's SQLite file: its tables, and transactions whose errors are in our words."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from qd_agent.core.errors import Fatal

SCHEMA_VERSION = 1
_SCHEMA = """
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


class Database:
    """One connection, safe to use from several threads.

    Args:
        path: the SQLite file (WAL mode); made when missing, with its folder.

    Raises:
        Fatal: the file cannot be opened, is no ledger, or the disk is full.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self.connection.execute("PRAGMA busy_timeout = 5000")
            self.connection.execute("PRAGMA journal_mode = WAL")
            # FULL: a frame that was acknowledged survives a power cut, not only a crash.
            self.connection.execute("PRAGMA synchronous = FULL")
            self._prepare(path)
        except (sqlite3.Error, OSError) as error:
            raise Fatal(f"the ledger {path} cannot be used: {error}") from error

    def _prepare(self, path: Path) -> None:
        version = int(self.connection.execute("PRAGMA user_version").fetchone()[0])
        if version == 0:
            self.connection.executescript(
                f"BEGIN;{_SCHEMA}PRAGMA user_version = {SCHEMA_VERSION};COMMIT;"
            )
        elif version != SCHEMA_VERSION:
            raise Fatal(
                f"the ledger {path} has schema {version}, this version knows {SCHEMA_VERSION}; "
                "use the version that wrote it, or another data folder"
            )

    @contextmanager
    def transaction(self) -> Generator[sqlite3.Connection]:
        """Do all of it or nothing. Raises Fatal when it cannot be written."""
        with self._lock:
            try:
                self.connection.execute("BEGIN IMMEDIATE")
                yield self.connection
                self.connection.execute("COMMIT")
            except sqlite3.Error as error:
                raise Fatal(f"the ledger cannot be written: {error}; is the disk full?") from error
            finally:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")

    def rows(self, query: str, *values: object) -> list[tuple[object, ...]]:
        """Give the rows of a query. Raises Fatal when it cannot be read."""
        with self._lock:
            try:
                return self.connection.execute(query, values).fetchall()
            except sqlite3.Error as error:
                raise Fatal(f"the ledger cannot be read: {error}") from error

    def close(self) -> None:
        """Close the file; what was written stays."""
        with self._lock:
            self.connection.close()
