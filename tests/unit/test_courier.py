"""A courier asks its sink what it holds, and brings again what is gone."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from qd_agent import courier
from qd_agent.core.errors import Unavailable
from qd_agent.core.frame import RunClosed, RunOpened
from qd_agent.core.prediction import Provenance, StoredFrame
from qd_agent.courier import Courier, wait_after
from qd_agent.delivery import audit, deliver_once
from qd_agent.ledger import Delivery, Ledger
from tests.helpers import records

PATIENCE = 60.0


def wait_until(reached: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not reached() and time.monotonic() < deadline:
        time.sleep(0.005)
    return reached()


class Store:
    """A sink that can be emptied behind the courier's back."""

    name = "redis"

    def __init__(self):
        self.runs: dict[str, dict[StoredFrame, int]] = {}
        self.closed: list[Mapping[str, int]] = []
        self.changed = threading.Condition()
        self.away = False

    def _touch(self) -> None:
        if self.away:
            raise Unavailable("redis is away")

    def open_run(self, run: RunOpened, provenance: Provenance) -> None:
        self._touch()
        self.runs.setdefault(run.run_uid, {})

    def deliver(self, batch: Sequence[Delivery]) -> None:
        self._touch()
        with self.changed:
            for delivery in batch:
                prediction = delivery.prediction
                held = self.runs.setdefault(prediction.key.run_uid, {})
                held[StoredFrame.of(prediction)] = prediction.key.seq_num
            self.changed.notify_all()

    def close_run(self, run: RunClosed, account: Mapping[str, int]) -> None:
        self.closed.append(account)

    def close(self) -> None: ...

    def census(self, run_uids: Sequence[str]) -> dict[str, int]:
        self._touch()
        with self.changed:
            return {uid: len(self.runs[uid]) if uid in self.runs else -1 for uid in run_uids}

    def held(self, run_uid: str) -> frozenset[StoredFrame]:
        self._touch()
        with self.changed:
            return frozenset(self.runs.get(run_uid, {}))

    def lose_all(self) -> None:
        """Forget every run, between two questions of the courier's thread."""
        with self.changed:
            self.runs.clear()

    def numbers(self, run_uid: str = "run-1") -> list[int]:
        return sorted(self.runs.get(run_uid, {}).values())

    def wait_for(self, numbers: list[int]) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: self.numbers() == numbers, PATIENCE)


@pytest.fixture
def ledger(tmp_path: Path):
    book = Ledger(tmp_path / "ledger.sqlite", "pbs-1", ["redis"])
    book.open_run(RunOpened("run-1", 1.0, {}))
    for n in (1, 2, 3):
        book.see(records.reference(seq_num=n))
        book.predict(records.prediction(seq_num=n), None, None)
    book.close_run(RunClosed("run-1", 2.0, "success", "", {"primary": 3}))
    yield book
    book.close()


def test_what_a_store_has_lost_is_owed_again_and_the_rest_is_not(ledger: Ledger):
    store = Store()
    deliver_once(ledger, store, records.provenance())
    assert store.numbers() == [1, 2, 3]
    assert audit(ledger, store, ["run-1"], thorough=False) == 0
    assert audit(ledger, store, ["run-1"], thorough=True) == 0
    gone = StoredFrame.of(records.prediction(seq_num=2))
    del store.runs["run-1"][gone]
    assert audit(ledger, store, ["run-1"], thorough=False) == 1
    assert deliver_once(ledger, store, records.provenance()) == 1
    assert store.numbers() == [1, 2, 3]


def test_a_store_with_other_frames_in_equal_number_is_found_out_frame_by_frame(ledger: Ledger):
    store = Store()
    deliver_once(ledger, store, records.provenance())
    del store.runs["run-1"][StoredFrame.of(records.prediction(seq_num=2))]
    store.runs["run-1"][StoredFrame.of(records.prediction(seq_num=9))] = 9
    assert audit(ledger, store, ["run-1"], thorough=False) == 0
    assert audit(ledger, store, ["run-1"], thorough=True) == 1


def test_an_emptied_store_is_told_of_start_frames_and_stop_again(ledger: Ledger):
    store = Store()
    deliver_once(ledger, store, records.provenance())
    store.runs.clear()
    store.closed.clear()
    assert audit(ledger, store, ["run-1"], thorough=False) == 3
    deliver_once(ledger, store, records.provenance())
    assert store.numbers() == [1, 2, 3]
    assert [account["delivered"] for account in store.closed] == [3]


def test_a_store_emptied_while_it_is_up_is_filled_again(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(courier, "PULSE_S", 0.0)
    store = Store()
    made = Courier(ledger, "redis", lambda: store, records.provenance(), watched=5)
    made.start()
    assert store.wait_for([1, 2, 3])
    store.lose_all()
    made.wake()
    assert store.wait_for([1, 2, 3])
    made.stop()
    made.join(PATIENCE)


def test_what_piled_up_is_brought_in_the_order_in_which_it_was_answered(tmp_path: Path):
    book, store = Ledger(tmp_path / "pile.sqlite", "pbs-1", ["redis"]), Store()
    store.away = True
    book.open_run(RunOpened("run-1", 1.0, {}))
    answered = [*range(1500, 0, -1), *range(1501, 3001)]
    with book.together():
        for n in answered:
            book.see(records.reference(seq_num=n))
            book.predict(records.prediction(seq_num=n), None, None)
    made = Courier(book, "redis", lambda: store, records.provenance())
    made.start()
    assert wait_until(lambda: made.state == "down")
    store.away = False
    assert store.wait_for(list(range(1, 3001)))
    assert list(store.runs["run-1"].values()) == answered
    made.stop()
    made.join(PATIENCE)
    book.close()


def test_each_try_in_vain_makes_the_next_wait_longer_up_to_a_quarter_of_a_minute():
    longest = [wait_after(misses, lambda _low, high: high) for misses in range(1, 12)]
    assert longest == [1.0, 2.0, 4.0, 8.0, *[15.0] * 7]
    assert {wait_after(misses, lambda low, _high: low) for misses in range(1, 12)} == {0.1}


def test_two_agents_that_lost_the_same_server_do_not_come_back_at_one_moment():
    assert len({wait_after(5) for _ in range(20)}) > 10


def test_a_comparison_can_be_asked_for_from_another_thread(ledger: Ledger):
    store = Store()
    made = Courier(ledger, "redis", lambda: store, records.provenance())
    made.start()
    assert store.wait_for([1, 2, 3])
    assert made.audit(["run-1"]).result(PATIENCE) == 0
    with store.changed:
        store.runs["run-1"].clear()
    assert made.audit(["run-1"]).result(PATIENCE) == 3
    assert store.wait_for([1, 2, 3])
    store.away = True
    with pytest.raises(Unavailable, match="redis is away"):
        made.audit(["run-1"]).result(PATIENCE)
    assert made.is_alive()
    made.stop()
    made.join(PATIENCE)
