"""What is to be looked up in the archive outlives the process, and so does how far it was read."""

import sqlite3
import time
from pathlib import Path

import pytest

from qd_agent.core.frame import RunClosed, RunOpened
from qd_agent.ledger import Ledger, Look, schema
from qd_agent.ledger.settings import LedgerSettings, ReconcileSettings


@pytest.fixture
def book(tmp_path: Path):
    made = Ledger(tmp_path / "ledger.sqlite", "pbs-1", ["redis"])
    yield made
    made.close()


def test_looks_are_due_in_order_and_so_many_at_once(book: Ledger):
    for n, run in enumerate("abcd"):
        book.agenda.add(run, now=10.0 + n)
    assert [look.run_uid for look in book.agenda.due(12.0, 10)] == ["a", "b", "c"]
    assert [look.run_uid for look in book.agenda.due(99.0, 2)] == ["a", "b"]


def test_a_look_that_is_put_off_is_remembered_by_the_next_process(tmp_path: Path):
    first = Ledger(tmp_path / "ledger.sqlite", "pbs-1", ["redis"])
    first.agenda.add("a", now=10.0)
    first.agenda.put_off("a", 50.0, "Tiled does not have the run")
    first.agenda.put_off("a", 60.0, "Tiled is away", asked=False)
    first.agenda.read_up_to(["b", "a"])
    first.close()
    second = Ledger(tmp_path / "ledger.sqlite", "pbs-1", ["redis"])
    assert second.agenda.all() == {"a": Look("a", 10.0, 1, 60.0, "Tiled is away")}
    assert second.agenda.newest() == ["b", "a"]
    second.close()


def test_what_was_given_up_is_never_due_until_it_is_added_again(book: Ledger):
    book.agenda.add("a", now=10.0)
    book.agenda.put_off("a", None, "too old")
    assert book.agenda.due(1e12, 10) == []
    book.agenda.add("a", now=20.0)
    assert [(look.began, look.due) for look in book.agenda.due(30.0, 10)] == [(10.0, 20.0)]
    book.agenda.drop("a")
    assert book.agenda.get("a") is None


def test_a_look_that_found_something_counts_from_then_on(book: Ledger):
    book.agenda.add("a", now=10.0)
    book.agenda.put_off("a", 50.0, "nothing")
    book.agenda.put_off("a", 60.0, "two frames more", found_at=55.0)
    assert book.agenda.get("a") == Look("a", 55.0, 0, 60.0, "two frames more")


def test_strangers_are_in_neither_the_books_nor_the_agenda(book: Ledger):
    book.open_run(RunOpened("known", 1.0, {}))
    book.agenda.add("planned", now=1.0)
    names = ["new", "known", "planned", "it's", 'a "quoted" one', "ü", ""]
    assert book.agenda.strangers(names) == ["new", "it's", 'a "quoted" one', "ü", ""]


def test_new_books_begin_now_and_those_from_before_with_their_newest_run(tmp_path: Path):
    before = time.time()
    new = Ledger(tmp_path / "new.sqlite", "pbs-1", ["redis"])
    assert before - 1.0 <= new.agenda.first_start <= time.time() + 1.0
    new.close()
    path = tmp_path / "old.sqlite"
    with sqlite3.connect(path) as db:
        db.executescript(schema._TABLES + schema._STEPS[2] + "PRAGMA user_version = 2;")
        db.execute("INSERT INTO runs (uid, time, metadata) VALUES ('a', 1234.5, '{}')")
        db.execute("INSERT INTO runs (uid, time, metadata) VALUES ('b', 234.5, '{}')")
    db.close()
    old = Ledger(path, "pbs-1", ["redis"])
    assert old.agenda.first_start == 1234.5
    old.close()


def test_a_pruned_run_moves_the_border_of_what_is_looked_for(book: Ledger):
    assert book.agenda.pruned_up_to == 0.0
    for run, when in (("a", 100.0), ("b", 20.0)):
        book.open_run(RunOpened(run, when, {}))
        book.agenda.add(run, now=1.0)
        book.close_run(RunClosed(run, when, "success", "", {}))
        book.run_opened("redis", run)
        book.run_closed("redis", run)
        assert book.prune(LedgerSettings()) == [run]
        assert book.agenda.pruned_up_to == 100.0
    assert book.agenda.all() == {}


def test_a_stop_that_knows_more_takes_the_place_of_one_that_knew_less(book: Ledger):
    book.open_run(RunOpened("a", 1.0, {}))
    book.close_run(RunClosed("a", 2.0, "success", "", {"primary": 4}))
    assert not book.correct_run(RunClosed("a", 2.0, "success", "", {"primary": 5}, {"primary": 5}))
    assert book.correct_run(RunClosed("a", 2.0, "success", "", {"primary": 4}, {"primary": 8}))
    assert book.runs("a")[0].expected == 8
    assert not book.correct_run(RunClosed("a", 2.0, "success", "", {"primary": 4}, {"primary": 9}))
    assert not book.correct_run(RunClosed("b", 2.0, "success", "", {"primary": 4}))


@pytest.mark.parametrize(
    ("since", "earliest"),
    [(None, 1e9 - 3600.0), ("2001-09-09T00:00:00Z", 999993600.0), ("2001-09-09", 999993600.0)],
)
def test_runs_count_from_an_hour_before_the_first_start_or_from_what_was_set(since, earliest):
    settings = ReconcileSettings(find_since=since)
    assert settings.since(first_start=1e9, now=1e9 + 60.0) == earliest
    assert settings.since(first_start=1e9, now=1e9 + 31 * 86400.0) == 1e9 + 86400.0
