"""The ledger's SQLite file."""

import sqlite3
from contextlib import closing

from qd_agent.ledger.database import LOG_BYTES, Database


def test_the_log_that_a_long_reader_has_held_up_becomes_small_again(tmp_path):
    path = tmp_path / "ledger.sqlite"
    log = path.with_name("ledger.sqlite-wal")
    with closing(Database(path)) as database, closing(sqlite3.connect(path)) as reader:
        database.rows("CREATE TABLE many (content BLOB)")

        def write(count: int) -> None:
            for _ in range(count):
                with database.transaction() as db:
                    db.execute("INSERT INTO many VALUES (?)", (bytes(2**20),))

        reader.execute("BEGIN")
        reader.execute("SELECT COUNT(*) FROM many").fetchone()
        write(20)
        assert log.stat().st_size > 2 * LOG_BYTES, "the reader holds up the log"
        reader.execute("COMMIT")
        write(3)
        assert log.stat().st_size <= LOG_BYTES
        assert database.rows("SELECT COUNT(*) FROM many") == [(23,)]
