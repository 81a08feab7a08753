"""Every frame that waits is answered or put off, whatever a stage says of it."""

from pathlib import Path

import pytest

from qd_agent.answers import MAX_CRASHES, TRIES_WITHOUT_DARK, Patience
from qd_agent.core.errors import BadFrame, Fatal, OutOfReach, StorageAway, Unavailable
from qd_agent.core.frame import RunClosed, RunOpened
from qd_agent.core.prediction import Verdict
from qd_agent.ledger import Todo
from tests.helpers import records
from tests.helpers.small_agent import Rig
from tests.helpers.small_agent import rig as _rig

rig = _rig


def test_a_bad_frame_is_set_aside_with_its_reason_and_the_stream_goes_on(rig: Rig):
    rig.reader.problems[1] = [BadFrame("the file is cut short")]
    rig.take(records.reference(seq_num=1), records.reference(seq_num=2))
    bad, good = rig.predictions()
    assert (bad.verdict, bad.reason) == (Verdict.BAD_FRAME, "the file is cut short")
    assert bad.diameter_nm is None
    assert good.verdict is Verdict.SIZED


def test_a_frame_that_may_not_be_read_from_where_it_lies_is_flagged_and_another_is_not(rig: Rig):
    rig.reader.problems[1] = [OutOfReach("outside of frames.allowed_roots")]
    rig.reader.problems[2] = [BadFrame("the file is cut short")]
    rig.take(records.reference(seq_num=1), records.reference(seq_num=2))
    assert [p.flags for p in rig.predictions()] == [("out_of_reach",), ()]
    assert [a.flags for a in rig.ledger.set_aside()] == [("out_of_reach",), ()]


def test_a_frame_that_is_away_is_tried_again_and_then_sized(rig: Rig):
    rig.reader.problems[1] = [Unavailable("disk is away")]
    rig.take(records.reference(seq_num=1))
    assert rig.predictions() == []
    assert rig.away == 1
    assert rig.agent.work() is None, "its time has not come"
    rig.retry()
    assert [p.verdict for p in rig.predictions()] == [Verdict.SIZED]
    assert rig.away == 0


def test_a_frame_may_come_as_long_as_its_run_is_open(rig: Rig):
    rig.reader.problems[1] = [Unavailable("not written yet") for _ in range(50)]
    rig.take(RunOpened("run-1", 1.0, {}), records.reference(seq_num=1))
    rig.retry(49)
    assert rig.predictions() == []
    rig.retry()
    assert [p.verdict for p in rig.predictions()] == [Verdict.SIZED]


def test_the_waits_grow_and_begin_anew_when_the_run_has_stopped():
    patience = Patience((1.0, 5.0, 30.0), tries_after_stop=2)
    away = records.reference()
    assert [patience.wait(Todo(away, tries=n)) for n in range(4)] == [1.0, 5.0, 30.0, 30.0]
    late = [patience.wait(Todo(away, tries=9, late=n, stopped=True)) for n in range(2)]
    assert late == [1.0, None]


def test_a_frame_that_stays_away_is_set_aside_after_the_last_try_after_the_stop(rig: Rig):
    rig.reader.problems[1] = [Unavailable("disk is away") for _ in range(5)]
    rig.take(RunOpened("run-1", 1.0, {}), records.reference(seq_num=1))
    rig.retry()
    rig.take(RunClosed("run-1", 2.0, "success", "", {"primary": 1}))
    assert rig.predictions() == [], "the stop itself brought another try"
    assert len(rig.reader.problems[1]) == 2
    rig.retry(2)
    (only,) = rig.predictions()
    assert only.verdict is Verdict.BAD_FRAME
    assert only.reason == "disk is away (given up after 5 tries)"
    assert "out_of_reach" in only.flags


def test_tries_are_not_forgotten_over_a_restart(tmp_path: Path):
    path = tmp_path / "ledger.sqlite"
    first = Rig(path)
    first.reader.problems[1] = [Unavailable("disk is away") for _ in range(2)]
    first.take(RunOpened("run-1", 1.0, {}), records.reference(seq_num=1))
    first.take(RunClosed("run-1", 2.0, "success", "", {"primary": 1}))
    first.ledger.close()
    second = Rig(path)
    second.reader.problems[1] = [Unavailable("disk is away") for _ in range(9)]
    assert second.agent.recover() == 1
    second.retry(9)
    (only,) = second.predictions()
    assert "given up after 4 tries" in only.reason
    second.ledger.close()


def test_frames_that_are_away_do_not_hold_up_the_others(rig: Rig):
    rig.reader.problems[1] = [Unavailable("disk is away") for _ in range(99)]
    rig.take(*[records.reference(seq_num=n) for n in (1, 2, 3)])
    assert [p.key.seq_num for p in rig.predictions()] == [2, 3]
    rig.agent.enter([records.reference(seq_num=n) for n in (4, 5)])
    for _ in range(4):
        rig.agent.work(now=float("inf"))
    assert [p.key.seq_num for p in rig.predictions()] == [2, 3, 4, 5]


def test_a_process_told_to_stop_puts_the_frame_in_hand_back(tmp_path: Path):
    rig = Rig(tmp_path / "ledger.sqlite", stopping=lambda: True)
    rig.agent.enter([RunOpened("run-1", 1.0, {}), records.reference(seq_num=1)])
    for _ in range(2 * MAX_CRASHES):
        rig.reader.problems[1] = [Unavailable("told to stop")]
        assert rig.agent.work() is not None
    todo = rig.ledger.next_frame(newest_first=True)
    assert todo is not None
    assert todo.tries == 0
    assert rig.predictions() == []
    rig.ledger.close()


@pytest.mark.parametrize(("newest_first", "order"), [(True, [3, 2, 1]), (False, [1, 2, 3])])
def test_the_live_view_stays_fresh_and_the_rest_follows(
    tmp_path: Path, newest_first: bool, order: list[int]
):
    rig = Rig(tmp_path / "ledger.sqlite", newest_first=newest_first)
    rig.agent.enter([records.reference(seq_num=n) for n in (1, 2, 3)])
    answered = [rig.agent.work() for _ in order]
    assert [r.key.seq_num for r in answered if r is not None] == order
    assert rig.ledger.waiting() == (0, 0, 0.0)
    rig.ledger.close()


def test_a_frame_waits_for_a_dark_that_is_away_and_at_last_goes_on_without(rig: Rig):
    rig.reader.problems[7] = [Unavailable("not yet") for _ in range(2)]
    rig.agent.enter([records.reference(seq_num=7, stream="dark"), records.reference(seq_num=1)])
    rig.agent.work()
    rig.retry(2)
    (only,) = rig.predictions()
    assert only.provenance.dark_hash == "1 darks"
    rig.reader.problems[8] = [Unavailable("never") for _ in range(99)]
    rig.agent.enter([records.reference(seq_num=8, stream="dark"), records.reference(seq_num=2)])
    rig.agent.work()
    rig.retry(TRIES_WITHOUT_DARK)
    assert [p.key.seq_num for p in rig.predictions()] == [1, 2]


def test_a_frame_that_must_have_its_dark_waits_for_it_as_long_as_for_its_pixels(rig: Rig):
    rig.reducer.demands_dark = lambda reference: True  # type: ignore[method-assign]
    rig.reader.problems[7] = [Unavailable("away") for _ in range(2 * TRIES_WITHOUT_DARK)]
    rig.agent.enter([records.reference(seq_num=7, stream="dark"), records.reference(seq_num=1)])
    rig.retry(2 * TRIES_WITHOUT_DARK)
    assert rig.predictions() == []
    rig.retry()
    (only,) = rig.predictions()
    assert only.provenance.dark_hash == "1 darks"


def test_no_frame_is_set_aside_because_its_dark_is_away(tmp_path: Path):
    rig = Rig(tmp_path / "ledger.sqlite", patience=Patience((0.0,), tries_after_stop=2))
    rig.reader.problems[7] = [Unavailable("never") for _ in range(99)]
    rig.take(records.reference(seq_num=7, stream="dark"))
    rig.take(records.reference(seq_num=1), RunClosed("run-1", 2.0, "success", "", {"primary": 1}))
    rig.retry(3)
    (only,) = rig.predictions()
    assert only.verdict is Verdict.SIZED
    rig.ledger.close()


def test_a_fatal_stage_stops_the_path_and_leaves_the_frame_open(rig: Rig):
    rig.reader.problems[1] = [Fatal("the model is gone")]
    with pytest.raises(Fatal, match="model is gone"):
        rig.take(records.reference(seq_num=1))
    assert rig.ledger.account().open == 1


def test_a_stage_that_is_fatal_at_every_start_costs_no_frame(tmp_path: Path):
    path = tmp_path / "ledger.sqlite"
    for _ in range(MAX_CRASHES + 1):
        rig = Rig(path)
        rig.agent.recover()
        rig.agent.enter([records.reference(seq_num=1)])
        rig.reader.problems[1] = [Fatal("the PONI file is gone")]
        with pytest.raises(Fatal):
            rig.agent.work_all()
        rig.ledger.close()
    mended = Rig(path)
    mended.agent.recover()
    mended.agent.work_all()
    assert [p.verdict for p in mended.predictions()] == [Verdict.SIZED]
    mended.ledger.close()


def test_readings_that_are_no_numbers_do_not_reach_the_stores(rig: Rig):
    rig.take(records.reference(readings={"monitor": float("nan"), "temperature": 380.0}))
    assert rig.predictions()[0].readings == {"temperature": 380.0}


def test_a_frame_that_kills_the_process_each_time_is_set_aside(tmp_path: Path):
    path = tmp_path / "ledger.sqlite"
    first = Rig(path)
    first.reader.problems[1] = [KeyboardInterrupt()]  # stands for a crash: nothing is caught
    with pytest.raises(KeyboardInterrupt):
        first.take(records.reference(seq_num=1))
    first.ledger.close()
    for _ in range(MAX_CRASHES - 1):
        again = Rig(path)
        again.reader.problems[1] = [KeyboardInterrupt()]
        again.agent.recover()
        with pytest.raises(KeyboardInterrupt):
            again.agent.work_all()
        again.ledger.close()
    last = Rig(path)
    last.reader.problems[1] = [KeyboardInterrupt()]
    assert last.agent.recover() == 1
    last.agent.work_all()
    (only,) = last.predictions()
    assert only.verdict is Verdict.BAD_FRAME
    assert f"{MAX_CRASHES} times" in only.reason
    last.ledger.close()


def test_a_frame_that_kills_the_process_waits_until_the_others_are_answered(tmp_path: Path):
    path = tmp_path / "ledger.sqlite"
    first = Rig(path)
    first.reader.problems = {1: [KeyboardInterrupt()], 2: [Unavailable("away")]}
    first.agent.enter([records.reference(seq_num=n) for n in (2, 1, 3)])
    first.agent.work()
    with pytest.raises(KeyboardInterrupt):
        first.agent.work()
    first.ledger.close()
    second = Rig(path)
    second.reader.problems[1] = [KeyboardInterrupt()]
    second.agent.recover()
    second.agent.enter([records.reference(seq_num=4)])
    with pytest.raises(KeyboardInterrupt):
        second.retry(4)
    assert sorted(p.key.seq_num for p in second.predictions()) == [2, 3, 4]
    second.ledger.close()
    third = Rig(path)
    third.agent.recover()
    third.agent.work_all()
    assert sorted(p.key.seq_num for p in third.predictions()) == [1, 2, 3, 4]
    third.ledger.close()


def test_a_frame_that_was_only_away_does_not_count_as_a_crash(rig: Rig):
    rig.reader.problems[1] = [Unavailable("away") for _ in range(2 * MAX_CRASHES)]
    rig.take(records.reference(seq_num=1))
    rig.retry(2 * MAX_CRASHES)
    assert [p.verdict for p in rig.predictions()] == [Verdict.SIZED]


def test_no_frame_is_set_aside_because_the_storage_of_all_is_away(rig: Rig):
    rig.reader.problems[1] = [StorageAway("the disk is away") for _ in range(20)]
    rig.take(records.reference(seq_num=1), RunClosed("run-1", 2.0, "success", "", {"primary": 1}))
    rig.retry(15)
    assert rig.away == 1
    assert rig.predictions() == []
    rig.retry(6)
    assert [p.verdict for p in rig.predictions()] == [Verdict.SIZED]


def test_storage_that_stays_away_ends_the_agent_and_the_frames_wait(tmp_path: Path):
    path = tmp_path / "ledger.sqlite"
    made = Rig(path, patience=Patience((1.0,), 2, storage_s=0.0))
    made.reader.problems[1] = [StorageAway("the disk is away") for _ in range(20)]
    made.take(records.reference(seq_num=1))
    made.retry()
    with pytest.raises(Fatal, match="the disk is away"):
        made.retry()
    made.ledger.close()
    again = Rig(path)
    again.agent.recover()
    again.retry(2)
    assert [p.verdict for p in again.predictions()] == [Verdict.SIZED]
    again.ledger.close()
