"""The ledger keeps every frame once, whatever is repeated, reordered or cut short."""

import itertools
import sqlite3
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qd_agent.core.errors import Fatal
from qd_agent.core.frame import RunClosed, RunOpened
from qd_agent.core.prediction import Estimate, StoredFrame, Verdict
from qd_agent.ledger import DARK, Books, Ledger, schema
from qd_agent.ledger.settings import LedgerSettings
from tests.helpers import records


@pytest.fixture
def ledger(tmp_path: Path):
    book = Ledger(tmp_path / "ledger.sqlite", "pbs-1", ["redis", "tiled"])
    yield book
    book.close()


def opened(run: str = "run-1", time: float = 1.0) -> RunOpened:
    return RunOpened(run, time, {"uid": run})


def closed(run: str = "run-1", count: int = 1) -> RunClosed:
    return RunClosed(run, 2.0, "success", "", {"primary": count})


def test_a_frame_is_seen_once(ledger: Ledger):
    assert ledger.see(records.reference())
    assert not ledger.see(records.reference())
    assert ledger.account().seen == 1


def test_a_reference_comes_back_as_it_was_written(ledger: Ledger):
    ledger.see(records.reference(seq_num=3))
    ledger.see(records.inline_reference(seq_num=4))
    first, second = ledger.unanswered()
    assert first == records.reference(seq_num=3)
    assert second.array is not None
    np.testing.assert_array_equal(second.array, np.arange(6, dtype="<u2").reshape(2, 3))


def test_a_second_answer_to_the_same_frame_is_ignored(ledger: Ledger):
    ledger.see(records.reference())
    ledger.predict(records.prediction(estimate=records.sized(4.0)), None, None)
    ledger.predict(records.prediction(estimate=records.sized(9.0)), None, None)
    (delivery,) = ledger.undelivered("redis", 10)
    assert delivery.prediction.diameter_nm == 4.0


def test_an_answer_to_a_frame_that_was_never_seen_is_not_kept(ledger: Ledger):
    ledger.predict(records.prediction(), None, None)
    assert ledger.undelivered("redis", 10) == []


def test_each_sink_has_its_own_outbox_in_order(ledger: Ledger):
    for n in (1, 2, 3):
        ledger.see(records.reference(seq_num=n))
        ledger.predict(records.prediction(seq_num=n), np.full(3, n, np.float32), None)
    ledger.delivered("redis", ledger.undelivered("redis", 2))
    assert [d.prediction.key.seq_num for d in ledger.undelivered("redis", 10)] == [3]
    tiled = ledger.undelivered("tiled", 10)
    assert [d.prediction.key.seq_num for d in tiled] == [1, 2, 3]
    assert tiled[1].intensity is not None
    np.testing.assert_array_equal(tiled[1].intensity, np.full(3, 2, np.float32))
    assert (ledger.backlog("redis"), ledger.backlog("tiled")) == (1, 3)


def test_a_run_is_closed_at_a_sink_only_after_its_last_frame(ledger: Ledger):
    ledger.open_run(opened())
    ledger.see(records.reference())
    ledger.close_run(closed())
    assert ledger.runs_to_close("redis") == [], "a frame is still unanswered"
    ledger.predict(records.prediction(), None, None)
    assert ledger.runs_to_close("redis") == [], "a prediction is still undelivered"
    ledger.delivered("redis", ledger.undelivered("redis", 10))
    assert ledger.runs_to_close("redis") == [closed()]
    ledger.run_closed("redis", "run-1")
    assert ledger.runs_to_close("redis") == []
    assert ledger.runs_to_close("tiled") == [], "tiled has its own pace"


def test_a_run_is_announced_once_and_late_metadata_are_filled_in(ledger: Ledger):
    ledger.open_run(RunOpened("run-1", 1.0, {}))
    assert [run.metadata for run in ledger.runs_to_open("redis")] == [{}]
    ledger.run_opened("redis", "run-1")
    ledger.open_run(RunOpened("run-1", 1.0, {"sample": "PbS"}))
    assert [run.metadata for run in ledger.runs_to_open("redis")] == [{"sample": "PbS"}]
    ledger.run_opened("redis", "run-1")
    ledger.open_run(RunOpened("run-1", 1.0, {"sample": "PbS"}))
    assert ledger.runs_to_open("redis") == []


def test_metadata_that_json_cannot_say_are_kept_as_well_as_they_can_be(ledger: Ledger):
    odd = {"a": np.arange(2), "b": np.float32(1.5), "c": {(1, 2): "lost"}, "d": b"x", "e": {3: 4}}
    ledger.open_run(RunOpened("run-1", 1.0, odd))
    (run,) = ledger.runs_to_open("redis")
    assert run.metadata == {"a": [0, 1], "b": 1.5, "c": {}, "d": "b'x'", "e": {"3": 4}}


def test_documents_are_kept_until_their_run_is_closed(ledger: Ledger):
    ledger.open_run(opened())
    ledger.keep_document("run-1", "start", {"uid": "run-1"})
    ledger.keep_document("run-1", "start", {"uid": "run-1"})
    ledger.keep_document("run-2", "descriptor", {"uid": "d-1", "run_start": "run-2"})
    names = [name for name, _ in ledger.kept_documents()]
    assert names == ["start", "descriptor"]
    ledger.close_run(closed())
    assert ledger.kept_documents() == [("descriptor", {"uid": "d-1", "run_start": "run-2"})]


def test_darks_are_kept_apart_from_samples(ledger: Ledger):
    ledger.see(records.reference(stream="dark"), DARK)
    assert ledger.unanswered() == []
    assert ledger.darks("run-1") == [records.reference(stream="dark")]
    assert ledger.account().seen == 0


def test_the_account_adds_up(ledger: Ledger):
    answers = [
        records.sized(),
        Estimate(verdict=Verdict.NO_NANOCRYSTALS, reason="solvent"),
        Estimate(verdict=Verdict.BAD_FRAME, reason="broken"),
    ]
    for n, estimate in enumerate(answers, start=1):
        ledger.see(records.reference(seq_num=n))
        ledger.predict(records.prediction(seq_num=n, estimate=estimate), None, None)
    ledger.see(records.reference(seq_num=4))
    ledger.delivered("redis", ledger.undelivered("redis", 1))
    account = ledger.account("run-1")
    assert account.as_counts() == {
        "seen": 4,
        "sized": 1,
        "abstained": 1,
        "set_aside": 1,
        "open": 1,
    }
    assert account.delivered == {"redis": 1, "tiled": 0}
    assert ledger.account("another").seen == 0


def test_what_was_written_survives_a_process_that_is_killed(tmp_path: Path):
    path = tmp_path / "ledger.sqlite"
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from qd_agent.ledger import Ledger; from tests.helpers import records\n"
        "book = Ledger(Path(sys.argv[1]), 'pbs-1', ['redis'])\n"
        "book.see(records.reference()); book.see(records.reference(seq_num=2))\n"
        "book.predict(records.prediction(), None, None)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    child = subprocess.run([sys.executable, "-c", code, str(path)], check=False, cwd=Path.cwd())
    assert child.returncode == -9
    book = Ledger(path, "pbs-1", ["redis"])
    assert [r.key.seq_num for r in book.unanswered()] == [2]
    assert [d.prediction.key.seq_num for d in book.undelivered("redis", 9)] == [1]
    book.close()


def test_what_is_acknowledged_is_on_the_disk_and_not_in_its_cache(ledger: Ledger):
    assert ledger._db.rows("PRAGMA journal_mode") == [("wal",)]
    assert ledger._db.rows("PRAGMA synchronous") == [(2,)], "FULL: each commit waits for the disk"


def test_another_model_version_answers_what_the_first_one_did_not_and_nothing_twice(
    tmp_path: Path,
):
    path = tmp_path / "ledger.sqlite"
    answered, waiting = (records.reference(seq_num=n) for n in (1, 2))
    first = Ledger(path, "pbs-1", ["redis"])
    assert first.see(answered)
    assert first.see(waiting)
    first.predict(records.prediction(seq_num=1), None, None)
    first.close()
    second = Ledger(path, "pbs-2", ["redis"])
    assert second.see(answered) is False, "the documents of an open run come again"
    assert second.see(waiting)
    assert second.adopt() == 1
    assert (second.account().seen, second.account().open) == (2, 1)
    second.close()


def test_a_frame_that_another_model_is_to_answer_anew_is_known(tmp_path: Path):
    """Its documents come again, from Tiled or at the start: it stays one frame, with one answer."""
    path = tmp_path / "ledger.sqlite"
    first = Ledger(path, "pbs-1", ["redis"])
    first.see(records.reference())
    first.predict(records.prediction(estimate=BAD), None, None)
    first.close()
    second = Ledger(path, "pbs-2", ["redis"])
    assert second.retry() == 1
    assert second.see(records.reference()) is False
    assert second.adopt() == 1
    todo = second.next_retry(now=time.time())
    assert todo is not None
    assert todo.revision == 1, "its answer takes the place of the first one in the stores"
    assert second.account().seen == 1
    second.close()


def test_a_file_that_is_no_ledger_is_refused_in_one_line(tmp_path: Path):
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"this is not a database" * 100)
    with pytest.raises(Fatal, match=r"ledger .* cannot be used") as caught:
        Ledger(path, "pbs-1", ["redis"])
    assert "\n" not in str(caught.value)


def test_a_ledger_of_a_newer_version_is_refused(tmp_path: Path):
    path = tmp_path / "ledger.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(Fatal, match="schema 99"):
        Ledger(path, "pbs-1", ["redis"])


def test_a_full_disk_is_fatal_before_the_frame_is_acknowledged(ledger: Ledger):
    pages = ledger._db.connection.execute("PRAGMA page_count").fetchone()[0]
    ledger._db.connection.execute(f"PRAGMA max_page_count = {pages}")
    endless = map(records.reference, itertools.repeat("run-1"), itertools.count(1))
    with pytest.raises(Fatal, match=r"disk that holds the ledger .* is full .* make room"):
        deque(map(ledger.see, endless), maxlen=0)
    seen = ledger.account().seen
    ledger._db.connection.execute("PRAGMA max_page_count = 100000")
    assert ledger.see(records.reference(seq_num=seen + 1)), "the refused frame was not kept"


def test_what_is_written_together_is_written_whole_or_not_at_all(ledger: Ledger):
    def write_half() -> None:
        with ledger.together():
            ledger.open_run(opened())
            ledger.see(records.reference())
            raise KeyError

    with pytest.raises(KeyError):
        write_half()
    assert ledger.run_uids() == []
    with ledger.together():
        ledger.open_run(opened())
        ledger.see(records.reference())
    assert ledger.account("run-1").seen == 1


def test_frames_wait_on_disk_the_newest_or_the_oldest_first(ledger: Ledger):
    for n in (1, 2, 3):
        ledger.see(records.reference(seq_num=n))
    newest, oldest = (ledger.next_frame(newest_first=first) for first in (True, False))
    assert newest is not None
    assert oldest is not None
    assert (newest.reference.key.seq_num, oldest.reference.key.seq_num) == (3, 1)
    ledger.put_off(newest, due=100.0)
    assert ledger.next_retry(now=99.0) is None
    again = ledger.next_retry(now=100.0)
    assert again is not None
    assert (again.reference.key.seq_num, again.tries, again.late) == (3, 1, 0)
    waiting, away, behind = ledger.waiting()
    assert (waiting, away) == (3, 1)
    assert 0.0 <= behind < 60.0


def test_a_frame_in_hand_when_a_process_ended_is_the_last_to_be_given(ledger: Ledger):
    first, second = (records.reference(seq_num=n) for n in (1, 2))
    for reference in (first, second):
        ledger.see(reference)
        ledger.begin(reference.key)
    ledger.begin(first.key)
    assert ledger.next_frame(newest_first=False) is None
    assert ledger.next_retry(now=1e12) is None
    assert ledger.waiting()[0] == 2, "it is not forgotten"
    less = ledger.next_interrupted(now=1.0)
    assert less is not None
    assert less.reference.key == second.key, "begun once, the other twice"
    ledger.put_back(first.key)
    fresh = ledger.next_frame(newest_first=False)
    assert fresh is not None
    assert fresh.reference.key == first.key
    ledger.put_off(less, due=100.0)
    assert ledger.next_interrupted(now=99.0) is None


def test_the_stop_of_a_run_brings_forward_what_was_put_off(ledger: Ledger):
    ledger.open_run(opened())
    ledger.see(records.reference())
    todo = ledger.next_frame(newest_first=True)
    assert todo is not None
    ledger.put_off(todo, due=time.time() + 1000.0)
    ledger.close_run(closed())
    again = ledger.next_retry(now=time.time() + 1.0)
    assert again is not None
    assert (again.stopped, again.late) == (True, 0)
    ledger.put_off(again, due=1.0)
    last = ledger.next_retry(now=1.0)
    assert last is not None
    assert (last.tries, last.late) == (2, 1)


def test_a_clock_that_was_wrong_does_not_hold_a_frame_for_ever(ledger: Ledger):
    ledger.see(records.reference())
    todo = ledger.next_frame(newest_first=True)
    assert todo is not None
    ledger.put_off(todo, due=time.time() + 1e9)
    assert ledger.adopt() == 1
    assert ledger.next_retry(now=time.time()) is not None


BAD = Estimate(verdict=Verdict.BAD_FRAME, reason="not readable")


def test_a_set_aside_frame_is_listed_and_can_be_tried_anew(ledger: Ledger):
    ledger.open_run(opened())
    ledger.see(records.reference(seq_num=1))
    ledger.predict(records.prediction(seq_num=1), None, None)
    ledger.see(records.inline_reference(seq_num=2))
    ledger.predict(records.prediction(seq_num=2, estimate=BAD), None, None)
    ledger.close_run(closed(count=2))
    (found,) = ledger.set_aside()
    assert (found.run_uid, found.seq_num, found.reason) == ("run-1", 2, "not readable")
    assert ledger.set_aside("another") == ledger.set_aside(seq_num=1) == []
    old = ledger.undelivered("redis", 10)
    assert ledger.retry("another") == ledger.retry("run-1", 1) == 0
    assert ledger.retry("run-1", 2) == 1
    assert ledger.retry() == 0, "it is open already"
    todo = ledger.next_retry(now=time.time())
    assert todo is not None
    assert todo.revision == 1
    assert todo.reference.array is not None, "its pixels were kept"
    late = records.prediction(seq_num=2)
    ledger.predict(late, None, None)
    assert ledger.account().open == 1, "an answer to the first question does not count any more"
    anew = late.model_copy(update={"revision": 1})
    ledger.predict(anew, None, None)
    ledger.delivered("redis", old)
    assert [d.prediction for d in ledger.undelivered("redis", 10)] == [anew], "it is still owed"
    assert ledger.set_aside() == []


def test_an_answer_after_the_stop_tells_the_stores_the_new_account(ledger: Ledger):
    ledger.open_run(opened())
    ledger.see(records.reference())
    ledger.predict(records.prediction(estimate=BAD), None, None)
    ledger.close_run(closed())
    ledger.delivered("redis", ledger.undelivered("redis", 10))
    ledger.run_closed("redis", "run-1")
    ledger.retry()
    ledger.predict(records.prediction().model_copy(update={"revision": 1}), None, None)
    assert ledger.runs_to_close("redis") == []
    ledger.delivered("redis", ledger.undelivered("redis", 10))
    assert ledger.runs_to_close("redis") == [closed()]


def test_a_store_gets_again_what_it_does_not_hold(ledger: Ledger):
    ledger.open_run(opened())
    for n in (1, 2, 3):
        ledger.see(records.reference(seq_num=n))
        ledger.predict(records.prediction(seq_num=n), None, None)
    ledger.close_run(closed(count=3))
    ledger.delivered("redis", ledger.undelivered("redis", 10))
    for sink in ("redis", "tiled"):
        ledger.run_opened(sink, "run-1")
        ledger.run_closed(sink, "run-1")
    held = {StoredFrame.of(records.prediction(seq_num=2))}
    assert ledger.deliver_again("redis", "run-1", held) == 2
    numbers = [d.prediction.key.seq_num for d in ledger.undelivered("redis", 10)]
    assert numbers == [1, 3]
    assert [run.run_uid for run in ledger.runs_to_open("redis")] == ["run-1"]
    assert ledger.backlog("tiled") == 3
    assert ledger.deliver_again("redis", "another", held) == 0
    everything = {StoredFrame.of(records.prediction(seq_num=n)) for n in (1, 2, 3)}
    ledger.delivered("redis", ledger.undelivered("redis", 10))
    assert ledger.deliver_again("redis", "run-1", everything) == 0


def test_the_account_of_a_run_counts_what_is_missing(ledger: Ledger):
    ledger.open_run(opened())
    ledger.see(records.reference())
    ledger.predict(records.prediction(), None, None)
    (record,) = ledger.runs()
    assert (record.exit_status, record.expected, record.missing) == (None, None, 0)
    ledger.note("run-1", "open, nothing new since")
    ledger.close_run(RunClosed("run-1", 2.0, "abort", "", {"primary": 2, "b": 1}, {"primary": 4}))
    (record,) = ledger.runs("run-1")
    assert (record.exit_status, record.expected, record.missing) == ("abort", 5, 4)
    assert record.note == "open, nothing new since"
    assert record.checked > 0
    assert ledger.runs("another") == []


def test_a_frame_that_was_taken_again_stands_for_no_other_one(ledger: Ledger):
    """Nor does one of another stream, nor one beyond those that the stop counts."""
    ledger.open_run(opened())
    taken = [(1, 0), (2, 0), (2, 1), (7, 0)]
    for seq_num, index in taken:
        frame = records.reference(seq_num=seq_num)
        ledger.see(replace(frame, key=records.key(seq_num=seq_num, index=index)))
    for seq_num in (1, 2, 3):
        ledger.see(records.reference(seq_num=seq_num, stream="second"))
    expected = {"primary": 3, "second": 2}
    ledger.close_run(RunClosed("run-1", 2.0, "success", "", expected))
    (record,) = ledger.runs("run-1")
    assert (record.expected, record.account.seen, record.missing) == (5, 7, 1)
    assert not record.whole
    ledger.see(records.reference(seq_num=3))
    (record,) = ledger.runs("run-1")
    assert record.whole


def test_of_events_of_several_frames_each_frame_counts(ledger: Ledger):
    ledger.open_run(opened())
    for index in (0, 1, 2):
        ledger.see(replace(records.reference(), key=records.key(seq_num=1, index=index)))
    stop = RunClosed("run-1", 2.0, "success", "", {"primary": 2}, frames={"primary": 4})
    ledger.close_run(stop)
    (record,) = ledger.runs("run-1")
    assert (record.expected, record.missing) == (4, 2)


def test_a_request_is_answered_across_processes(tmp_path: Path):
    path = tmp_path / "ledger.sqlite"
    agent, operator = Ledger(path, "pbs-1", ["redis"]), Books(path, ["redis"])
    first, second = operator.ask("run-1"), operator.ask(None)
    asked = agent.next_request()
    assert asked is not None
    assert (asked.number, asked.run_uid) == (first, "run-1")
    assert operator.answer_to(first) is None
    agent.answer_request(first, "all is well")
    assert operator.answer_to(first) == "all is well"
    asked = agent.next_request()
    assert asked is not None
    assert (asked.number, asked.run_uid) == (second, None)
    agent.close()
    operator.close()


def test_a_ledger_of_the_first_version_is_brought_up_to_date(tmp_path: Path):
    path = tmp_path / "ledger.sqlite"
    new = Ledger(tmp_path / "new.sqlite", "pbs-1", ["redis"])
    new.see(records.reference())
    row = new._db.rows("SELECT reference FROM frames")[0]
    new.close()
    db = sqlite3.connect(path)
    db.executescript(schema._TABLES + "PRAGMA user_version = 1;")
    frame = ("run-1", "primary", "det", 1, 0, "pbs-0", "sample", row[0])
    db.execute(
        "INSERT INTO frames (run_uid, stream, data_key, seq_num, idx, model, role, reference) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        frame,
    )
    db.execute("INSERT INTO runs VALUES ('run-1', 1.0, '{}', NULL)")
    db.commit()
    db.close()
    with pytest.raises(Fatal, match="schema 1"):
        Books(path, ["redis"], migrate=False)
    book = Ledger(path, "pbs-1", ["redis"])
    assert book.adopt() == 1
    todo = book.next_frame(newest_first=True)
    assert todo is not None
    assert todo.reference == records.reference()
    assert [run.uid for run in book.runs()] == ["run-1"]
    book.close()
    again = Books(path, ["redis"], migrate=False)
    assert again.account().seen == 1
    again.close()


def test_a_migration_that_fails_changes_nothing(tmp_path: Path):
    path = tmp_path / "ledger.sqlite"
    db = sqlite3.connect(path)
    db.executescript(schema._TABLES + "PRAGMA user_version = 1; CREATE TABLE requests (x);")
    db.close()
    with pytest.raises(Fatal, match="cannot be used"):
        Ledger(path, "pbs-1", ["redis"])
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA user_version").fetchone() == (1,)
    assert "tries" not in [row[1] for row in db.execute("PRAGMA table_info(frames)")]
    db.close()


def finished(book: Ledger, run: str, time: float, estimate: Estimate | None = None) -> None:
    """A run that has stopped and is delivered everywhere."""
    book.open_run(RunOpened(run, time, {"uid": run, "notes": "x" * 20_000}))
    book.see(records.reference(run))
    book.predict(records.prediction(run, estimate=estimate), None, None)
    book.close_run(closed(run))
    for sink in ("redis", "tiled"):
        book.delivered(sink, book.undelivered(sink, 10))
        book.run_opened(sink, run)
        book.run_closed(sink, run)


def test_old_runs_go_when_they_are_done_with_and_not_before(ledger: Ledger):
    for run in ("delivered", "young", "open", "owed", "unanswered"):
        finished(ledger, run, time.time() - (86400.0 if run == "young" else 10 * 86400.0))
    ledger._db.connection.execute("UPDATE runs SET closed = NULL WHERE uid = 'open'")
    ledger.deliver_again("tiled", "owed", set())
    ledger.see(records.reference("unanswered", seq_num=2))
    assert ledger.prune(LedgerSettings(keep_days=5.0)) == ["delivered"]
    assert set(ledger.run_uids()) == {"young", "open", "owed", "unanswered"}
    assert ledger.account("delivered").seen == 0


def meanwhile(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]):
    """Have something happen, once, just after the next question to the books."""
    rows = ledger._db.rows

    def asked(query: str, *values: object):
        found = rows(query, *values)
        monkeypatch.undo()
        happens()
        return found

    monkeypatch.setattr(ledger._db, "rows", asked)


def test_a_run_that_is_tried_anew_meanwhile_does_not_go(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
):
    finished(ledger, "run-1", 1.0, BAD)
    beside = Books(ledger._db.path, ledger.sinks)
    meanwhile(ledger, monkeypatch, beside.retry)
    assert ledger.prune(LedgerSettings(keep_days=5.0)) == []
    assert ledger.account("run-1").open == 1
    beside.close()


def test_nothing_is_owed_of_a_run_that_goes_while_a_store_is_asked(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
):
    finished(ledger, "run-1", 1.0)
    settings = LedgerSettings(keep_days=5.0)
    meanwhile(ledger, monkeypatch, lambda: ledger.prune(settings))
    ledger.deliver_again("redis", "run-1", set())
    assert ledger.run_uids() == []
    assert ledger.backlog("redis") == 0
    assert not ledger.owes("redis")


def test_the_oldest_runs_go_when_the_ledger_grows_too_large(ledger: Ledger):
    now = time.time()
    for n in range(20):
        finished(ledger, f"run-{n:02d}", now + n)
    assert ledger.prune(LedgerSettings(keep_gib=1.0)) == []
    gone = ledger.prune(LedgerSettings(keep_gib=250_000 / 2**30))
    assert gone == [f"run-{n:02d}" for n in range(len(gone))]
    assert 5 < len(gone) < 20


steps = st.lists(
    st.tuples(st.sampled_from(["see", "predict", "deliver"]), st.integers(1, 5)), max_size=40
)


@given(steps)
@settings(max_examples=40, deadline=None)
def test_any_order_of_repeats_delivers_each_answered_frame_once(script: list[tuple[str, int]]):
    book = Ledger(Path(":memory:"), "pbs-1", ["redis"])
    seen: set[int] = set()
    answered: list[int] = []
    delivered: list[int] = []
    for action, n in script:
        if action == "see":
            assert book.see(records.reference(seq_num=n)) == (n not in seen)
            seen.add(n)
        elif action == "predict":
            book.predict(records.prediction(seq_num=n), None, None)
            if n in seen and n not in answered:
                answered.append(n)
        else:
            batch = book.undelivered("redis", n)
            delivered += [d.prediction.key.seq_num for d in batch]
            book.delivered("redis", batch)
    delivered += [d.prediction.key.seq_num for d in book.undelivered("redis", 99)]
    assert sorted(delivered) == sorted(answered)
    account = book.account()
    assert account.seen == account.sized + account.open == len(seen)
    book.close()


def test_the_lag_of_a_sink_is_the_age_of_the_first_answer_that_it_lacks(ledger: Ledger):
    assert ledger.lag("tiled") == 0.0
    for n in (1, 2):
        ledger.see(records.reference(seq_num=n))
        ledger.predict(records.prediction(seq_num=n), None, None)
    age = time.time() - records.prediction(seq_num=1).publication_time
    assert ledger.lag("tiled") == pytest.approx(age, abs=5.0)
    ledger.delivered("tiled", ledger.undelivered("tiled", 10))
    assert ledger.lag("tiled") == 0.0
    assert ledger.lag("redis") > 0.0


def test_who_comes_too_late_to_a_closed_ledger_is_told_so_in_one_line(tmp_path: Path):
    """At shutdown a slow store's thread may come back from a delivery after everything closed."""
    book = Ledger(tmp_path / "late.sqlite", "pbs-1", ["tiled"])
    book.close()
    for late in (lambda: book.run_opened("tiled", "run-1"), lambda: book.backlog("tiled")):
        with pytest.raises(Fatal, match="closed database") as caught:
            late()
        assert "\n" not in str(caught.value)
