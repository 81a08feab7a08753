"""The ways to die do come: a fault that is never met would prove nothing."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.helpers.chaos_agent import dying, take_free_pages
from tests.helpers.chaos_stores import ROOT

KEEPS_WRITING = """
import sys
from pathlib import Path
from tests.helpers.chaos_agent import arm
arm("pages:2")
from qd_agent.core.errors import Fatal
from qd_agent.ledger.database import Database
books = Database(Path(sys.argv[1]))
for number in range(1000):
    try:
        with books.transaction() as c:
            c.execute("INSERT INTO work VALUES (?, randomblob(3000))", (number,))
            c.execute("DELETE FROM work WHERE number < ?", (number,))
    except Fatal as error:
        print(number, error)
        break
"""


class DiedError(Exception):
    pass


def die() -> None:
    raise DiedError


def turns(*failing: int) -> Callable[[], int]:
    calls = 0

    def call() -> int:
        nonlocal calls
        calls += 1
        if calls in failing:
            raise ConnectionError
        return calls

    return call


def test_the_end_comes_after_the_call_that_was_meant() -> None:
    mortal = dying(turns(), 2, "after", die)
    assert mortal() == 1
    with pytest.raises(DiedError):
        mortal()


def test_the_end_after_a_call_that_fails_comes_with_the_next_one_that_does_not() -> None:
    mortal = dying(turns(2, 3), 2, "after", die)
    assert mortal() == 1
    for _ in range(2):
        with pytest.raises(ConnectionError):
            mortal()
    with pytest.raises(DiedError):
        mortal()


def test_the_end_before_a_call_does_not_wait_for_what_becomes_of_it() -> None:
    mortal = dying(turns(1), 1, "before", die)
    with pytest.raises(DiedError):
        mortal()


def test_no_page_of_a_file_is_left_free(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "file", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE work (bytes BLOB)")
        connection.execute("INSERT INTO work VALUES (zeroblob(200000))")
        connection.execute("DELETE FROM work")
        take_free_pages(connection)
        assert connection.execute("PRAGMA freelist_count").fetchone() == (0,)


def test_a_full_disk_is_met_however_many_pages_become_free(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)) as file:
        file.execute("CREATE TABLE work (number INTEGER, bytes BLOB)")
        file.execute("INSERT INTO work VALUES (-1, zeroblob(400000))")
    done = subprocess.run(
        [sys.executable, "-P", "-c", KEEPS_WRITING, str(tmp_path / "ledger.sqlite")],
        check=True, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    number, _, said = done.stdout.partition(" ")
    assert int(number) < 50
    assert "is full" in said
