"""The ledger's SQLite file, and transactions whose errors are in our words."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from qd_agent.core.errors import Fatal
from qd_agent.ledger.schema import VERSION, bring_up_to_date, version_of

LOG_BYTES = 8 * 2**20
"""What SQLite's log keeps on disk, twice what it holds when it is copied into the file by itself.
Somebody who reads for long holds that up, and without a limit the log stays as large as it was."""
_FULL = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_FSYNC})


class Database:
    """One connection, safe to use from several threads.

    Args:
        path: the SQLite file (WAL mode); made when missing, with its folder.
        migrate: bring a file of an earlier version up to date; without it, that is refused.
        patience_s: how long a process waits for another one that writes.

    Raises:
        Fatal: the file cannot be opened, is no ledger, or the disk is full.
    """

    def __init__(self, path: Path, *, migrate: bool = True, patience_s: float = 5.0) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._depth = 0
        self._closed = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self.connection.execute(f"PRAGMA busy_timeout = {round(patience_s * 1e3)}")
            self.connection.execute("PRAGMA journal_mode = WAL")
            self.connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
            # FULL: a frame that was acknowledged survives a power cut, not only a crash.
            self.connection.execute("PRAGMA synchronous = FULL")
            self._prepare(path, migrate=migrate)
        except (sqlite3.Error, OSError) as error:
            raise Fatal(f"the ledger {path} cannot be used: {error}") from error

    def _prepare(self, path: Path, *, migrate: bool) -> None:
        version = version_of(self.connection)
        if version > VERSION:
            raise Fatal(
                f"the ledger {path} has schema {version}, this version knows {VERSION}; "
                "use the version that wrote it, or another data folder"
            )
        if version < VERSION:
            if not migrate:
                raise Fatal(
                    f"the ledger {path} has schema {version}, this version has {VERSION}, and an "
                    "agent of another version is using it; start that agent again first"
                )
            bring_up_to_date(self.connection)

    @contextmanager
    def transaction(self) -> Generator[sqlite3.Connection]:
        """Do all of it or nothing; one inside of another is part of it.

        Raises:
            Fatal: it cannot be written.
        """
        with self._lock:
            self._depth += 1
            try:
                if self._depth == 1:
                    self.connection.execute("BEGIN IMMEDIATE")
                yield self.connection
                if self._depth == 1:
                    self.connection.execute("COMMIT")
            except sqlite3.Error as error:
                raise Fatal(self._refusal(error)) from error
            finally:
                self._depth -= 1
                # A closed one has nothing to take back: a slow store's thread may come too late.
                if self._depth == 0 and not self._closed and self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")

    def _refusal(self, error: sqlite3.Error) -> str:
        code = getattr(error, "sqlite_errorcode", None)
        if code in _FULL:
            return (
                f"the disk that holds the ledger {self.path} is full ({error}); make room and "
                "start again: what was acknowledged is kept, nothing else was"
            )
        return f"the ledger {self.path} cannot be written: {error}"

    def rows(self, query: str, *values: object) -> list[tuple[object, ...]]:
        """Give the rows of a query. Raises Fatal when it cannot be read."""
        with self._lock:
            try:
                return self.connection.execute(query, values).fetchall()
            except sqlite3.Error as error:
                raise Fatal(f"the ledger {self.path} cannot be read: {error}") from error

    def close(self) -> None:
        """Close the file; what was written stays."""
        with self._lock:
            self._closed = True
            self.connection.close()
