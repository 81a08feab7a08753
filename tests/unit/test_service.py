"""Threads of the daemon: nothing is dropped on the way in, a sink that is away costs nothing."""

import os
import queue
import signal
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from qd_agent.core.errors import BadFrame, Fatal, Unavailable
from qd_agent.core.frame import RunClosed, RunOpened
from qd_agent.core.ports import Document
from qd_agent.core.prediction import Provenance
from qd_agent.courier import Courier
from qd_agent.health import Health
from qd_agent.ledger import Delivery, Ledger
from qd_agent.service import REFUSALS_SAID, WEIGHT_BYTES, DocumentQueue, Intake, Service
from tests.helpers import records

PATIENCE = 10.0


class Source:
    """Gives what it was told to, then waits for the end of the test."""

    def __init__(self, script: Sequence[Document | Exception]):
        self.state = "connected"
        self.script = list(script)
        self.dry = threading.Event()

    def receive(self, timeout: float) -> Document | None:
        if not self.script:
            self.dry.set()
            return None
        item = self.script.pop(0)
        if isinstance(item, Exception):
            raise item
        return item

    def close(self) -> None: ...


def started(source: Source, size: int = 100) -> tuple[Intake, "queue.Queue[Document]"]:
    documents: queue.Queue[Document] = queue.Queue(size)
    intake = Intake(source, documents)
    intake.start()
    return intake, documents


def test_documents_arrive_in_order_whatever_comes_between_them():
    source = Source([("start", {"uid": "1"}), BadFrame("port scanner"), ("stop", {"uid": "2"})])
    intake, documents = started(source)
    assert source.dry.wait(PATIENCE)
    intake.stop()
    assert [documents.get_nowait()[0] for _ in range(2)] == ["start", "stop"]
    assert intake.refused == 1


class Moody(Source):
    """Is in another state each time that something was received."""

    def __init__(self, states: Sequence[str]):
        super().__init__([])
        self.states = list(states)

    def receive(self, timeout: float) -> Document | None:
        if self.states:
            self.state = self.states.pop(0)
        else:
            self.dry.set()
        return None


def test_what_stands_between_us_and_the_source_is_said_when_it_changes(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("qd_agent.service.STATE_PAUSE_S", 0.0)
    source = Moody(["connecting", "refused: wrong key", "refused: wrong key", "connected"])
    with capture_logs() as said:
        intake, _ = started(source)
        assert source.dry.wait(PATIENCE)
        intake.stop()
    assert [(line["event"], line.get("reason")) for line in said] == [
        ("source is not connected", "refused: wrong key"),
        ("source is connected", None),
    ]
    assert intake.state == "connected"


def test_a_source_that_comes_and_goes_does_not_fill_the_log():
    source = Moody(["connected", "connecting"] * 500)
    with capture_logs() as said:
        intake, _ = started(source)
        assert source.dry.wait(PATIENCE)
        intake.stop()
    assert len(said) == 1


def test_a_flood_of_refused_messages_does_not_fill_the_log():
    source = Source([BadFrame("port scanner")] * (10 * REFUSALS_SAID))
    source.state = "connecting"
    with capture_logs() as said:
        intake, _ = started(source)
        assert source.dry.wait(PATIENCE)
        intake.stop()
    assert intake.refused == 10 * REFUSALS_SAID
    assert len(said) == REFUSALS_SAID + 9
    assert said[-1]["refused"] == 10 * REFUSALS_SAID


def test_a_full_queue_holds_the_source_back_and_drops_nothing():
    source = Source([("event", {"n": n}) for n in range(20)])
    intake, documents = started(source, size=3)
    received = [documents.get(timeout=PATIENCE)[1]["n"] for _ in range(20)]
    intake.stop()
    assert received == list(range(20))


def test_a_source_that_cannot_go_on_is_reported():
    intake, _ = started(Source([Fatal("the socket is gone")]))
    intake.join(PATIENCE)
    assert str(intake.failure) == "the socket is gone"


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


class Image:
    """Stands for an array of so many bytes."""

    def __init__(self, nbytes: int):
        self.nbytes = nbytes


def test_the_queue_is_bounded_by_number_and_by_bytes():
    documents = DocumentQueue(5)
    for n in range(5):
        documents.put_nowait(("event", {"n": n}))
    with pytest.raises(queue.Full):
        documents.put_nowait(("event", {}))
    assert [documents.get_nowait()[1] for _ in range(5)] == [{"n": n} for n in range(5)]
    documents.put_nowait(("event", {"data": {"image": Image(4 * WEIGHT_BYTES)}}))
    assert documents.count() == 1
    with pytest.raises(queue.Full):
        documents.put_nowait(("event", {}))
    documents.get_nowait()
    assert documents.empty()


class NoFrames:
    """An agent that takes documents in and has no frame to answer."""

    def __init__(self):
        self.noted: list[str] = []
        self.turns = 0

    def note_all(self, documents: Sequence[Document]) -> None:
        self.noted += [name for name, _ in documents]

    def recover(self) -> int:
        return 0

    def work(self) -> None:
        self.turns += 1


def service(agent: NoFrames, documents: DocumentQueue, **options) -> Service:
    health = Health("agent", "nowhere", "pbs-1")
    return Service(agent, Source([]), {}, health, documents=documents, **options)  # type: ignore[arg-type]


def test_documents_in_hand_at_the_end_are_written_down():
    agent, documents = NoFrames(), DocumentQueue(100)
    begun = threading.Event()

    def chores() -> None:
        documents.put(("stop", {}))
        os.kill(os.getpid(), signal.SIGTERM)

    service(agent, documents, begin=begun.set, chores=chores).run()
    assert begun.is_set()
    assert agent.noted == ["stop"]


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
    made = Service(agent, failing, {}, Health("a", "b", "c"), documents=documents)  # type: ignore[arg-type]
    with pytest.raises(Fatal, match="the socket is gone"):
        made.run()
