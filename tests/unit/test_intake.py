"""The way in: nothing is dropped, nothing fills the memory or the log."""

import queue
import threading
import time
from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from qd_agent.core.errors import BadFrame, Fatal, SaidBefore
from qd_agent.core.ports import Document
from qd_agent.intake import NUMBER_BYTES, WEIGHT_BYTES, Arrival, DocumentQueue, Intake
from qd_agent.refusals import SAID
from tests.helpers.sources import Source

PATIENCE = 60.0


def started(source: Source, size: int = 100) -> tuple[Intake, "queue.Queue[Arrival]"]:
    arrivals: queue.Queue[Arrival] = queue.Queue(size)
    intake = Intake("zmq", source, arrivals)
    intake.start()
    return intake, arrivals


def test_documents_arrive_in_order_whatever_comes_between_them():
    source = Source([("start", {"uid": "1"}), BadFrame("port scanner"), ("stop", {"uid": "2"})])
    intake, arrivals = started(source)
    assert source.dry.wait(PATIENCE)
    intake.stop()
    assert [arrivals.get_nowait().document[0] for _ in range(2)] == ["start", "stop"]
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
    monkeypatch.setattr("qd_agent.intake.STATE_PAUSE_S", 0.0)
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


def test_a_source_that_comes_and_goes_does_not_fill_the_log(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("qd_agent.intake.STATE_PAUSE_S", 3600.0)  # however slow we are
    source = Moody(["connected", "connecting"] * 500)
    with capture_logs() as said:
        intake, _ = started(source)
        assert source.dry.wait(PATIENCE)
        intake.stop()
    assert len(said) == 1


def test_a_flood_of_refused_messages_does_not_fill_the_log():
    source = Source([BadFrame("port scanner")] * (10 * SAID))
    source.state = "connecting"
    with capture_logs() as said:
        intake, _ = started(source)
        assert source.dry.wait(PATIENCE)
        intake.stop()
    assert intake.refused == 10 * SAID
    assert len(said) == SAID + 9
    assert said[-1]["refused"] == 10 * SAID


def test_a_full_queue_holds_the_source_back_and_drops_nothing():
    source = Source([("event", {"n": n}) for n in range(20)])
    intake, arrivals = started(source, size=3)
    received = [arrivals.get(timeout=PATIENCE).document[1]["n"] for _ in range(20)]
    intake.stop()
    assert received == list(range(20))


def test_a_source_that_cannot_go_on_is_reported():
    intake, _ = started(Source([Fatal("the socket is gone")]))
    intake.join(PATIENCE)
    assert str(intake.failure) == "the socket is gone"


class Image:
    """Stands for an array of so many bytes."""

    def __init__(self, nbytes: int):
        self.nbytes = nbytes


def arrival(**doc: object) -> Arrival:
    return Arrival(("event", doc), "zmq")


def test_the_queue_is_bounded_by_number_and_by_bytes():
    documents = DocumentQueue(5)
    for n in range(5):
        documents.put_nowait(arrival(n=n))
    with pytest.raises(queue.Full):
        documents.put_nowait(arrival())
    assert [documents.get_nowait().document[1] for _ in range(5)] == [{"n": n} for n in range(5)]
    documents.put_nowait(arrival(data={"image": Image(4 * WEIGHT_BYTES)}))
    assert documents.count() == 1
    with pytest.raises(queue.Full):
        documents.put_nowait(arrival())
    documents.get_nowait()
    assert documents.empty()


def test_images_in_lists_count_by_the_memory_that_they_take():
    """As they come from a publisher of JSON, whose documents hold no arrays."""
    documents = DocumentQueue(5)
    side = int((3 * WEIGHT_BYTES / NUMBER_BYTES) ** 0.5) + 1
    documents.put_nowait(arrival(data={"image": [[0] * side] * side, "monitor": 1.0, "no": []}))
    documents.put_nowait(arrival())
    with pytest.raises(queue.Full):
        documents.put_nowait(arrival())


def test_what_was_said_before_is_counted_and_not_said_again():
    source = Source([BadFrame("pickled"), *[SaidBefore("pickled")] * 50, BadFrame("no document")])
    source.state = "connecting"
    with capture_logs() as said:
        intake, _ = started(source)
        assert source.dry.wait(PATIENCE)
        intake.stop()
    assert [line["reason"] for line in said] == ["pickled", "no document"]
    assert intake.refused == 52


def test_a_document_in_hand_when_the_queue_is_full_is_not_dropped_at_the_end():
    source = Source([("event", {"n": n}) for n in range(3)])
    intake, arrivals = started(source, size=2)
    while len(source.script) > 0 or arrivals.qsize() < 2:
        time.sleep(0.001)
    intake.stop()
    intake.join(PATIENCE)  # it ends soon, but on a busy machine perhaps not as soon as `stop` hopes
    assert [arrivals.get_nowait().document[1]["n"] for _ in range(2)] == [0, 1]
    left = intake.give_left()
    assert left is not None
    assert left.document[1]["n"] == 2
    assert intake.give_left() is None, "given once"


def test_what_a_slow_source_gives_after_the_end_is_kept_apart_from_the_queue():
    class Slow(Source):
        asked, answer = threading.Event(), threading.Event()

        def receive(self, timeout: float):
            self.asked.set()
            assert self.answer.wait(PATIENCE)
            return super().receive(timeout)

    source = Slow([("event", {"n": 1})])
    intake, arrivals = started(source)
    assert source.asked.wait(PATIENCE)
    intake._stopping.set()  # as `stop` does, which would wait for two seconds in vain
    source.answer.set()
    intake.join(PATIENCE)
    assert arrivals.empty(), "nobody looks into it any more"
    left = intake.give_left()
    assert left is not None
    assert left.document[1]["n"] == 1
