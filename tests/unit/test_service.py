"""Threads of the daemon: a sink that is away costs nothing, what is in hand is written down."""

import os
import signal
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pytest

from qd_agent.core.errors import Fatal, Unavailable
from qd_agent.core.frame import RunClosed, RunOpened
from qd_agent.core.ports import Document
from qd_agent.core.prediction import Provenance
from qd_agent.courier import Courier
from qd_agent.health import Health
from qd_agent.intake import Arrival, DocumentQueue, Intake
from qd_agent.ledger import Delivery, Ledger
from qd_agent.service import Service
from tests.helpers import records
from tests.helpers.sources import Source

PATIENCE = 60.0


class Sink:
    name = "redis"

    def __init__(self):
        self.got: list[int] = []
        self.away = threading.Event()
        self.changed = threading.Condition()
        self.refusal: Exception | None = None
        self.closed = False

    def _allow(self) -> None:
        if self.away.is_set():
            raise Unavailable("redis is away")
        if self.refusal is not None:
            raise self.refusal

    def open_run(self, run: RunOpened, provenance: Provenance) -> None:
        self._allow()

    def deliver(self, batch: Sequence[Delivery]) -> None:
        self._allow()
        with self.changed:
            self.got += [d.prediction.key.seq_num for d in batch]
            self.changed.notify_all()

    def close_run(self, run: RunClosed, account: Mapping[str, int]) -> None: ...

    def close(self) -> None:
        self.closed = True

    def wait_for(self, count: int) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: len(self.got) >= count, PATIENCE)


@pytest.fixture
def ledger(tmp_path: Path):
    book = Ledger(tmp_path / "ledger.sqlite", "pbs-1", ["redis"])
    yield book
    book.close()


def answer(ledger: Ledger, *numbers: int) -> None:
    for n in numbers:
        ledger.see(records.reference(seq_num=n))
        ledger.predict(records.prediction(seq_num=n), None, None)


def courier(ledger: Ledger, sink: Sink, **options) -> Courier:
    made = Courier(ledger, "redis", lambda: sink, records.provenance(), **options)
    made.start()
    return made


def test_predictions_go_out_as_they_are_made_and_the_sink_is_closed(ledger: Ledger):
    sink = Sink()
    made = courier(ledger, sink)
    answer(ledger, 1, 2)
    made.wake()
    assert sink.wait_for(2)
    answer(ledger, 3)
    made.wake()
    assert sink.wait_for(3)
    made.stop()
    made.join(PATIENCE)
    assert sink.got == [1, 2, 3]
    assert sink.closed


def test_a_sink_that_comes_back_gets_everything_once_and_in_order(ledger: Ledger):
    sink, seen_away = Sink(), threading.Event()
    sink.away.set()
    made = Courier(ledger, "redis", lambda: sink, records.provenance())
    miss = made._miss

    def noted(error: Unavailable, misses: int) -> None:
        seen_away.set()
        miss(error, misses)

    made._miss = noted  # type: ignore[method-assign]
    answer(ledger, 1, 2)
    made.start()
    assert seen_away.wait(PATIENCE)
    answer(ledger, 3)
    assert sink.got == []
    sink.away.clear()
    assert sink.wait_for(3)
    made.stop()
    made.join(PATIENCE)
    assert sink.got == [1, 2, 3]


def test_what_is_made_last_still_goes_out_at_shutdown(ledger: Ledger):
    sink = Sink()
    made = courier(ledger, sink, pause=3600.0)
    answer(ledger, 1, 2, 3)
    made.stop()
    made.join(PATIENCE)
    assert sorted(sink.got) == [1, 2, 3]


def test_a_sink_that_refuses_for_good_is_reported(ledger: Ledger):
    sink = Sink()
    sink.refusal = Fatal("wrong password")
    answer(ledger, 1)
    made = courier(ledger, sink)
    made.join(PATIENCE)
    assert str(made.failure) == "wrong password"
    assert ledger.backlog("redis") == 1, "it stays in the books"


def test_the_pulse_beats_while_the_sink_is_up(ledger: Ledger):
    beat = threading.Event()
    made = courier(ledger, Sink(), pulse=lambda _: beat.set())
    assert beat.wait(PATIENCE)
    made.stop()
    made.join(PATIENCE)


def test_a_sink_with_nothing_to_deliver_is_up_only_when_its_pulse_says_so(ledger: Ledger):
    sink, states, beats = Sink(), list[str](), threading.Semaphore(0)
    sink.away.set()

    def pulse(_: object) -> None:
        states.append(made.state)
        beats.release()
        sink._allow()

    made = Courier(ledger, "redis", lambda: sink, records.provenance(), pulse=pulse)
    made.start()
    for _ in range(3):
        assert beats.acquire(timeout=PATIENCE)
    assert "up" not in states
    sink.away.clear()
    made.stop()
    made.join(PATIENCE)


class NoFrames:
    """An agent that takes documents in and has no frame to answer."""

    def __init__(self):
        self.noted: list[str] = []
        self.turns = 0

    def note_all(self, documents: Iterable[Document]) -> None:
        self.noted += [name for name, _ in documents]

    def recover(self) -> int:
        return 0

    def work(self) -> None:
        self.turns += 1


def service(agent: NoFrames, documents: DocumentQueue, **options) -> Service:
    health = Health("agent", "nowhere", "pbs-1")
    sources = options.pop("sources", {"zmq": Source()})
    return Service(agent, sources, {}, health, documents=documents, **options)  # type: ignore[arg-type]


def test_a_sink_that_answers_slowly_slows_neither_intake_nor_the_other_sink(tmp_path: Path):
    ledger = Ledger(tmp_path / "books.sqlite", "pbs-1", ["redis", "tiled"])
    answering, taken = threading.Event(), list[int]()

    class Slow(Sink):
        name = "tiled"

        def deliver(self, batch: Sequence[Delivery]) -> None:
            assert answering.wait(PATIENCE)
            super().deliver(batch)

    class Sizes(NoFrames):
        def note_all(self, documents: Iterable[Document]) -> None:
            for _, doc in documents:
                self.noted.append("event")
                answer(ledger, doc["n"])  # type: ignore[arg-type]
            for courier_ in couriers.values():
                courier_.wake()

    slow, quick = Slow(), Sink()
    stores = {"tiled": slow, "redis": quick}
    couriers = {
        name: Courier(ledger, name, lambda sink=sink: sink, records.provenance())
        for name, sink in stores.items()
    }
    source = Source([("event", {"n": n}) for n in range(1, 8)])

    def finished() -> bool:
        if len(quick.got) < 7 or not source.dry.is_set():
            return False
        taken.extend([sum(source.acknowledged), len(slow.got), ledger.backlog("tiled")])
        answering.set()
        return True

    health = Health("agent", "zmq", "pbs-1")
    documents = DocumentQueue(2)
    Service(
        Sizes(), {"zmq": source}, couriers, health, documents=documents, finished=finished
    ).run()  # type: ignore[arg-type]
    for courier_ in couriers.values():
        courier_.join(PATIENCE)
    assert taken == [7, 0, 7], "all is taken in and in Redis, and Tiled has not answered yet"
    assert slow.got == quick.got == list(range(1, 8))
    ledger.close()


def test_documents_in_hand_at_the_end_are_written_down():
    agent, documents = NoFrames(), DocumentQueue(100)
    begun = threading.Event()

    def chores() -> None:
        documents.put(Arrival(("stop", {}), "zmq"))
        os.kill(os.getpid(), signal.SIGTERM)

    service(agent, documents, begin=begun.set, chores=chores).run()
    assert begun.is_set()
    assert agent.noted == ["stop"]


def test_what_a_slow_source_gives_while_the_process_ends_is_written_down(
    monkeypatch: pytest.MonkeyPatch,
):
    class Slow(Source):
        asked, answer = threading.Event(), threading.Event()

        def receive(self, timeout: float) -> Document | None:
            self.asked.set()
            assert self.answer.wait(PATIENCE)
            return super().receive(timeout)

    def not_waited_for(intake: Intake) -> None:
        intake._stopping.set()

    agent, source = NoFrames(), Slow([("stop", {})])
    monkeypatch.setattr(Intake, "stop", not_waited_for)
    made = service(agent, DocumentQueue(9), sources={"tiled": source}, finished=source.asked.is_set)
    (intake,) = made._intakes.values()

    class LastCourier:
        """Stands for the couriers, whose end is waited for after the intakes'."""

        name, failure = "courier", None

        def start(self) -> None: ...

        def stop(self) -> None:
            source.answer.set()

        def is_alive(self) -> bool:
            return True

        def join(self, timeout: float) -> None:
            intake.join(PATIENCE)

    made._couriers = {"redis": LastCourier()}  # type: ignore[dict-item]
    made.run()
    assert agent.noted == ["stop"]
    assert source.acknowledged == [1]


def test_who_is_told_that_it_is_ready_may_stop_it_at_once():
    agent = NoFrames()
    service(agent, DocumentQueue(1), ready=lambda: os.kill(os.getpid(), signal.SIGTERM)).run()
    assert agent.noted == []


def test_a_second_signal_ends_the_process_at_once(monkeypatch: pytest.MonkeyPatch):
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)

    def chores() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)

    service(NoFrames(), DocumentQueue(1), chores=chores).run()
    assert codes == [128 + signal.SIGTERM]


def test_work_on_the_books_alone_ends_when_it_is_done():
    agent = NoFrames()
    service(agent, DocumentQueue(1), finished=lambda: agent.turns >= 2).run()
    assert agent.turns == 2


def test_a_thread_that_cannot_go_on_stops_the_service():
    failing = Source([Fatal("the socket is gone")])
    agent, documents = NoFrames(), DocumentQueue(1)
    made = service(agent, documents, sources={"zmq": failing})
    with pytest.raises(Fatal, match="the socket is gone"):
        made.run()


def test_a_source_is_told_what_the_books_hold_and_not_before():
    """Whoever keeps documents for us, as Kafka does, may then let go of them."""
    agent, told_too_early = NoFrames(), list[int]()

    class Careful(Source):
        def acknowledge(self, count: int) -> None:
            super().acknowledge(count)
            if sum(self.acknowledged) > len(agent.noted):
                told_too_early.append(count)

    one = Careful([("event", {"n": n}) for n in range(7)])
    other = Careful([("event", {"n": n}) for n in range(5)])

    def finished() -> bool:
        return one.dry.is_set() and other.dry.is_set()

    sources = {"one": one, "other": other}
    service(agent, DocumentQueue(2), sources=sources, finished=finished).run()
    assert (sum(one.acknowledged), sum(other.acknowledged)) == (7, 5)
    assert len(agent.noted) == 12
    assert told_too_early == []


def test_what_the_books_do_not_hold_is_not_acknowledged():
    class FullDisk(NoFrames):
        def note_all(self, documents: Iterable[Document]) -> None:
            raise Fatal("the disk is full")

    source = Source([("start", {}), ("stop", {})])
    with pytest.raises(Fatal, match="full"):
        service(FullDisk(), DocumentQueue(9), sources={"kafka": source}).run()
    assert source.acknowledged == []


def test_the_heartbeat_tells_the_sources_apart_where_they_differ():
    health = Health("agent", "zmq, kafka", "pbs-1")
    health.hear({"zmq": ("connected", 2), "kafka": ("connected", 1)})
    assert (health.source_state, health.refused) == ("connected", 3)
    health.hear({"zmq": ("connected", 2), "kafka": ("connecting", 1)})
    assert health.source_state == "zmq connected, kafka connecting"
