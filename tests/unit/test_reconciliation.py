"""The books against files, Tiled and stores: what was missed is found, and said when it is not."""

import time
from collections.abc import Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from event_model import compose_run

from qd_agent import agent, discovery, quiet_runs, reconciliation
from qd_agent.agent import Agent
from qd_agent.answers import Stages
from qd_agent.core.catalog import CatalogPage, CatalogRun
from qd_agent.core.errors import Unavailable
from qd_agent.core.frame import Frame, FrameReference, Happening, RunClosed
from qd_agent.core.pattern import Pattern
from qd_agent.core.ports import Document
from qd_agent.core.prediction import Sized
from qd_agent.discovery import Discovery
from qd_agent.documents import RouterSettings, open_router
from qd_agent.ledger import Ledger
from qd_agent.ledger.settings import LedgerSettings, ReconcileSettings
from qd_agent.quiet_runs import QuietRuns
from qd_agent.reconciliation import Reconciliation
from tests.helpers import records
from tests.helpers.documents import READING, RunOfDocuments, scan_with_darks, step_scan

SETTINGS = RouterSettings()
LOOKS = ReconcileSettings(
    find_since=datetime(2000, 1, 1, tzinfo=UTC), find_days=36500, look_first_s=8.0,
    look_longest_s=100.0, look_hours=1.0,
)  # fmt: skip
START = 1_800_000_000.0
"""UTC epoch s at which the tests' clock stands in the beginning."""
PAGE = 4
"""Runs on a page of the catalog."""


class Stage:
    """Reader, reducer and sizer in one; the files hold `lengths` frames each."""

    def __init__(self):
        self.lengths: dict[str, int] = {}

    def length(self, uri: str, dataset: str) -> int:
        if uri not in self.lengths:
            raise Unavailable(f"{uri} does not exist")
        return self.lengths[uri]

    def read(self, reference: FrameReference) -> Frame:
        return Frame(reference, np.full(reference.shape, 4.0))

    def close(self) -> None: ...

    def reduce(self, frame: Frame) -> Pattern:
        return Pattern(np.full(5004, 4.0), np.zeros(5004), np.ones(5004))

    def size(self, patterns: Sequence[Pattern]) -> list[Sized]:
        return [Sized(records.sized(4.0), p) for p in patterns]

    def check_whole(self, frame, pattern, *, dark_announced) -> None: ...

    def keeps(self, run_uid, data_key, role) -> bool:
        return True

    def demands_dark(self, reference) -> bool:
        return False

    def wants(self, reference):
        return "", ""

    def add_dark(self, frame: Frame, role: str = "own") -> None: ...

    def made_from(self, reference):
        return {}

    def forget_run(self, run_uid: str) -> None: ...


class Auditor:
    def __init__(self, result: int | Exception = 0):
        self.asked: list[list[str]] = []
        self.result = result

    def audit(self, run_uids: Sequence[str]) -> Future[int]:
        self.asked.append(list(run_uids))
        future: Future[int] = Future()
        if isinstance(self.result, Exception):
            future.set_exception(self.result)
        else:
            future.set_result(self.result)
        return future


class Rig:
    def __init__(self, path: Path):
        self.stage = Stage()
        self.ledger = Ledger(path, "pbs-1", ["redis", "tiled"])
        router = open_router(SETTINGS)
        self.agent = Agent(
            router,
            Stages(self.stage, self.stage, self.stage),
            self.ledger,
            provenance=records.provenance(),
            streams=frozenset(SETTINGS.streams),
            dark_streams=frozenset(SETTINGS.dark_streams),
        )
        self.archive: dict[str, list[Document] | Exception | None] = {}
        self.catalog: list[CatalogRun] | Exception | None = []
        self.looked: list[str] = []
        self.pages: list[str | None] = []
        self.auditors = {"redis": Auditor(3), "tiled": Auditor()}
        self.now = 0.0
        self.reconciliation = Reconciliation(
            self.agent,
            self.ledger,
            router,
            new_router=lambda: open_router(SETTINGS),
            archive=self._ask,
            auditors=self.auditors,
            discovery=Discovery(self.ledger, self._page, LOOKS),
            quiet=QuietRuns(self.agent, self.ledger, router, self.stage, 60.0),
            settings=LOOKS,
        )

    def _ask(self, run_uid: str) -> "Future[list[Document] | None]":
        self.looked.append(run_uid)
        future: Future[list[Document] | None] = Future()
        found = self.archive.get(run_uid)
        if isinstance(found, Exception):
            future.set_exception(found)
        else:
            future.set_result(found)
        return future

    def _page(self, following: str | None) -> "Future[CatalogPage | None]":
        self.pages.append(following)
        future: Future[CatalogPage | None] = Future()
        if isinstance(self.catalog, Exception):
            future.set_exception(self.catalog)
            return future
        if self.catalog is None:
            future.set_result(None)
            return future
        first = int(following or 0)
        last = first + PAGE
        more = str(last) if last < len(self.catalog) else None
        future.set_result(CatalogPage(self.catalog[first:last], more))
        return future

    def took(self, documents: list[Document], at: float = START - 100.0) -> str:
        """The beamline took a run, and Tiled has it; nothing was heard of it."""
        run = uid_of(documents)
        self.archive[run] = documents
        assert isinstance(self.catalog, list)
        self.catalog.insert(0, CatalogRun(run, at))
        return run

    def hear(self, documents: Sequence[Document]) -> None:
        for name, doc in documents:
            self.agent.step(name, doc)

    def turns(self, count: int = 4, seconds: float = 1.0) -> None:
        for _ in range(count):
            self.now += seconds
            self.reconciliation.turn()
        self.agent.work_all()

    def numbers(self) -> list[int]:
        found = self.ledger.undelivered("redis", 1000)
        return sorted(d.prediction.key.seq_num for d in found)

    def note(self, run_uid: str) -> str:
        (record,) = self.ledger.runs(run_uid)
        return record.note


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made = Rig(tmp_path / "ledger.sqlite")

    class Clock:
        perf_counter = staticmethod(time.perf_counter)

        @staticmethod
        def monotonic() -> float:
            return made.now

        @staticmethod
        def time() -> float:
            return START + made.now

    for module in (reconciliation, discovery, quiet_runs, agent):
        monkeypatch.setattr(module, "time", Clock)
    yield made
    made.ledger.close()


def play(documents: Sequence[Document]) -> list[Happening]:
    into = open_router(SETTINGS)
    return [happening for name, doc in documents for happening in into.route(name, doc)]


def without_detector(events: int) -> list[Document]:
    """A run whose primary stream holds a number an event, and no frame."""
    bundle = compose_run()
    stream = bundle.compose_descriptor(name="primary", data_keys={"x": dict(READING)})
    documents: list[Document] = [
        ("start", dict(bundle.start_doc)),
        ("descriptor", dict(stream.descriptor_doc)),
    ]
    for _ in range(events):
        event = stream.compose_event(data={"x": 1.0}, timestamps={"x": 1.0})
        documents.append(("event", dict(event)))
    stop = {**bundle.compose_stop(), "num_events": {"primary": events}}
    return [*documents, ("stop", stop)]


def uid_of(documents: Sequence[Document]) -> str:
    return str(documents[0][1]["uid"])


def test_a_stop_that_was_missed_is_fetched_with_the_frames_before_it(rig: Rig):
    documents = scan_with_darks(darks=2, frames=6)
    run = uid_of(documents)
    rig.hear(documents[:13])
    known = rig.numbers()
    assert 0 < len(known) < 6
    rig.archive[run] = documents
    rig.reconciliation.begin()
    rig.turns()
    assert rig.numbers() == [1, 2, 3, 4, 5, 6]
    (record,) = rig.ledger.runs(run)
    assert (record.exit_status, record.expected, record.missing) == ("success", 6, 0)
    assert record.note == ""
    assert rig.ledger.kept_documents() == []


def test_a_run_that_nobody_has_ended_is_said_to_be_open(rig: Rig):
    documents = step_scan(3)
    run = uid_of(documents)
    rig.hear(documents[:-1])
    rig.reconciliation.begin()
    rig.turns(2)
    assert rig.note(run) == "open, nothing new since: Tiled does not have the run"
    rig.archive[run] = documents[:-1]
    rig.reconciliation.begin()
    rig.turns(2)
    assert rig.note(run).endswith("Tiled has no stop document either")
    rig.archive[run] = Unavailable("Tiled is away")
    rig.reconciliation.begin()
    rig.turns(2)
    assert rig.note(run).endswith("Tiled is away")
    assert rig.numbers() == [1, 2, 3]


def test_frames_in_the_files_of_a_quiet_run_are_taken_and_those_of_a_growing_one_left(rig: Rig):
    run = RunOfDocuments()
    run.declare()
    run.open_file()
    run.shot()
    run.datum(1)  # its event is lost
    rig.hear(run.documents)
    assert rig.numbers() == [1]
    rig.stage.lengths[run.uri] = 3
    rig.turns(2, seconds=31.0)
    rig.stage.lengths[run.uri] = 5
    rig.turns(2, seconds=31.0)
    assert rig.numbers() == [1], "the file is growing"
    rig.turns(2, seconds=31.0)
    assert rig.numbers() == [1, 2, 3, 4, 5]
    assert "3 frames that nobody announced" in rig.note(run.uid)
    last = rig.ledger.undelivered("redis", 100)[-1].prediction
    assert last.readings == {}
    run.stop(primary=5)
    rig.hear(run.documents[-1:])
    assert rig.numbers() == [1, 2, 3, 4, 5], "nothing twice"
    (record,) = rig.ledger.runs(run.uid)
    assert record.missing == 0


def test_a_file_that_dark_and_light_frames_share_is_left_to_the_stop_document(rig: Rig):
    documents = scan_with_darks(darks=1, frames=4)
    cut = [name for name, _ in documents].index("descriptor", 5) + 3
    rig.hear(documents[:cut])
    before = rig.numbers()
    rig.stage.lengths[RunOfDocuments.uri] = 9
    rig.turns(6, seconds=31.0)
    assert rig.numbers() == before
    assert "only the stop document can say" in rig.note(uid_of(documents))


def test_an_incomplete_run_is_looked_up_and_its_frames_come_from_tiled(rig: Rig):
    documents = step_scan(4)
    run = uid_of(documents)
    rig.archive[run] = documents
    rig.hear([documents[0], documents[-1]])  # nothing else was received
    assert list(rig.ledger.agenda.all()) == [run]
    rig.turns(200)
    assert rig.looked == [run], "what is whole is not looked up again"
    assert rig.numbers() == [1, 2, 3, 4]
    (record,) = rig.ledger.runs(run)
    assert (record.account.sized, record.missing) == (4, 0)
    assert rig.ledger.agenda.all() == {}


def test_a_run_that_gets_to_tiled_late_is_looked_up_until_it_is_whole(rig: Rig):
    documents = step_scan(4)
    run = uid_of(documents)
    rig.hear([documents[0], documents[-1]])
    rig.turns(60)
    # Looks at 0, 8, 24 and 56 s, give or take a quarter of each wait.
    assert 3 <= len(rig.looked) <= 5
    look = rig.ledger.agenda.all()[run]
    assert 0 <= len(rig.looked) - look.tries <= 1, "a look may be under way"
    assert look.reason == "4 frames are missing: Tiled does not have the run"
    rig.archive[run] = documents
    rig.turns(101 * 5 // 4)  # the longest wait, and its jitter
    assert rig.numbers() == [1, 2, 3, 4]
    assert rig.ledger.agenda.all() == {}
    assert rig.note(run) == ""


def test_an_incomplete_run_is_given_up_when_it_is_too_old_and_taken_up_at_the_next_start(rig: Rig):
    documents = step_scan(4)
    run = uid_of(documents)
    rig.hear([documents[0], documents[-1]])
    rig.turns(80, seconds=50.0)
    assert rig.ledger.agenda.all()[run].due is None
    looks = len(rig.looked)
    rig.turns(20, seconds=50.0)
    assert len(rig.looked) == looks
    rig.archive[run] = documents
    rig.reconciliation.begin()
    rig.turns()
    assert rig.numbers() == [1, 2, 3, 4]


def test_a_tiled_that_is_away_gives_nobody_up(rig: Rig):
    documents = step_scan(4)
    run = uid_of(documents)
    rig.archive[run] = Unavailable("Tiled is away")
    rig.hear([documents[0], documents[-1]])
    rig.turns(200, seconds=50.0)
    look = rig.ledger.agenda.all()[run]
    assert (look.tries, look.reason) == (0, "4 frames are missing: Tiled is away")
    assert look.due is not None
    rig.archive[run] = documents
    rig.turns(4, seconds=50.0)
    assert rig.numbers() == [1, 2, 3, 4]


def test_what_came_meanwhile_needs_no_look(rig: Rig):
    documents = step_scan(2)
    rig.hear([documents[0], documents[-1]])
    rig.agent.take(play(documents))
    rig.turns(3)
    assert rig.looked == []
    assert rig.ledger.agenda.all() == {}


# -- runs of which nothing was heard -----------------------------------------------------------


def test_a_run_of_which_nothing_was_heard_is_found_in_the_catalog_and_sized(rig: Rig):
    run = rig.took(step_scan(3, metadata={"sample": "PbS"}))
    rig.reconciliation.begin()
    rig.turns(6)
    assert rig.numbers() == [1, 2, 3]
    (record,) = rig.ledger.runs(run)
    assert record.whole
    assert rig.ledger.agenda.all() == {}
    (opened,) = rig.ledger.runs_to_open("redis")
    assert opened.metadata["sample"] == "PbS"


def test_a_run_that_comes_to_the_catalog_later_is_found_by_the_clock(rig: Rig):
    rig.reconciliation.begin()
    rig.turns(6)
    rig.took(step_scan(3))
    rig.turns(50)
    assert rig.numbers() == []
    rig.turns(15)
    assert rig.numbers() == [1, 2, 3]


def test_events_that_name_an_unknown_descriptor_hasten_the_search(rig: Rig):
    rig.reconciliation.begin()
    rig.turns(12)
    documents = step_scan(3)
    rig.took(documents)
    rig.hear([d for d in documents if d[0] == "event"])
    rig.turns(4)
    assert rig.numbers() == [1, 2, 3]


def test_a_run_without_a_detector_stays_quiet(rig: Rig):
    rig.took(without_detector(5))
    rig.reconciliation.begin()
    rig.turns(10)
    assert rig.ledger.runs() == []
    assert rig.ledger.agenda.all() == {}
    assert rig.ledger.runs_to_open("redis") == []


def test_a_run_without_a_detector_that_was_heard_of_lacks_nothing(rig: Rig):
    documents = without_detector(5)
    rig.hear(documents)
    (record,) = rig.ledger.runs()
    assert (record.expected, record.missing, record.whole) == (0, 0, True)


def test_what_tiled_says_of_a_layout_corrects_a_run_of_which_the_descriptor_was_lost(rig: Rig):
    documents = without_detector(5)
    run = rig.took(documents)
    rig.hear([documents[0], documents[-1]])
    (record,) = rig.ledger.runs()
    assert record.missing == 5, "for all we know"
    rig.turns(4)
    (record,) = rig.ledger.runs(run)
    assert (record.expected, record.missing) == (0, 0)
    assert rig.ledger.agenda.all() == {}


def test_frames_of_several_an_event_are_counted_right_once_tiled_has_told_the_layout(rig: Rig):
    documents = step_scan(2, shape=(3, 8, 6))
    run = rig.took(documents)
    rig.hear([documents[0], documents[-1]])
    rig.turns(4)
    (record,) = rig.ledger.runs(run)
    assert (record.expected, record.account.seen, record.whole) == (6, 6, True)


def test_an_unheard_run_that_goes_on_is_followed_from_then_on(rig: Rig):
    documents = step_scan(4)
    so_far = 3 + 2 * 2  # two frames of it are in Tiled
    run = rig.took(documents[:so_far])
    rig.reconciliation.begin()
    rig.turns(6)
    assert rig.numbers() == [1, 2]
    # A stream_resource may be late, but is not lost: the rest comes with the documents.
    rig.hear([documents[2], *documents[so_far + 1 :]])  # one stream_datum is lost
    assert rig.numbers() == [1, 2, 3, 4]
    (record,) = rig.ledger.runs(run)
    assert record.whole
    assert rig.ledger.account(run).seen == 4, "nothing twice"


def test_an_unheard_run_of_which_nothing_more_comes_is_sized_as_tiled_gets_it(rig: Rig):
    documents = step_scan(9)
    run = rig.took(documents[: 3 + 2])
    rig.reconciliation.begin()
    rig.turns(6)
    for frames in range(2, 9):
        rig.archive[run] = documents[: 3 + 2 * frames]
        rig.turns(80)
        assert rig.numbers() == list(range(1, frames + 1)), "about a minute behind"
    rig.archive[run] = documents
    rig.turns(80)
    assert rig.ledger.runs(run)[0].whole


def test_what_tiled_calls_a_file_makes_no_frame_twice(rig: Rig):
    documents = step_scan(4, uri="file://localhost/data/a b.h5")
    told = [
        (name, {**doc, "uri": "file://localhost/data/a%20b.h5"})
        if name == "stream_resource" else (name, doc)
        for name, doc in documents
    ]  # fmt: skip
    run = rig.took(told[: 3 + 2 * 2])
    rig.reconciliation.begin()
    rig.turns(6)
    rig.hear(documents[2:])
    assert [d.prediction.key.index for d in rig.ledger.undelivered("redis", 9)] == [0, 0, 0, 0]
    assert rig.ledger.runs(run)[0].whole


def test_a_run_that_has_just_begun_is_left_to_its_documents(rig: Rig):
    documents = step_scan(2)
    rig.took(documents, at=START + 5.0)
    rig.reconciliation.begin()
    rig.turns(4)
    assert rig.looked == []
    rig.turns(61)
    assert rig.looked == [uid_of(documents)], "but not for long"


def test_a_run_that_has_declared_nothing_yet_is_looked_up_again(rig: Rig):
    documents = step_scan(2)
    run = rig.took(documents[:1])
    rig.reconciliation.begin()
    rig.turns(6)
    assert rig.ledger.runs() == [], "it may have no detector"
    assert rig.ledger.agenda.all()[run].reason == "Tiled has no stop document either"
    rig.archive[run] = documents
    rig.turns(15)
    assert rig.numbers() == [1, 2]


def test_an_old_catalog_is_left_alone(rig: Rig):
    for _ in range(20):
        rig.took(step_scan(1), at=940_000_000.0)
    rig.reconciliation.begin()
    rig.turns(10)
    assert rig.looked == []
    assert rig.pages == [None], "and not read further than its first page"


def test_after_a_while_away_every_page_is_read_up_to_what_was_known(rig: Rig):
    for _ in range(5):
        rig.took(step_scan(1))
    rig.reconciliation.begin()
    rig.turns(20)
    assert len(rig.ledger.runs()) == 5
    for _ in range(6):
        rig.took(step_scan(1))
    rig.pages.clear()
    rig.looked.clear()
    rig.reconciliation.begin()
    rig.turns(20)
    assert len(rig.ledger.runs()) == 11
    assert len(rig.looked) == 6
    assert rig.pages[:2] == [None, str(PAGE)]
    assert str(2 * PAGE) not in rig.pages, "the second page meets what was known"


def test_one_look_asks_for_a_few_runs_only(rig: Rig):
    for _ in range(3 * reconciliation.AT_ONCE):
        rig.took(step_scan(1))
    rig.reconciliation.begin()
    asked = [0]
    for _ in range(100):
        rig.turns(1)
        asked.append(len(rig.looked))
    assert max(b - a for a, b in pairwise(asked)) <= reconciliation.AT_ONCE
    assert len(rig.ledger.runs()) == 3 * reconciliation.AT_ONCE


def test_a_catalog_that_is_away_or_not_there_is_said_and_asked_again(
    rig: Rig, capsys: pytest.CaptureFixture[str]
):
    documents = step_scan(2)
    rig.catalog = None
    rig.reconciliation.begin()
    rig.turns(200)
    assert capsys.readouterr().out.count("Tiled has no catalog of raw runs") == 1
    request = rig.ledger.ask(None)
    rig.turns()
    assert "Tiled has no catalog of raw runs" in str(rig.ledger.answer_to(request))
    rig.catalog = Unavailable("Tiled is away")
    rig.turns(70)
    rig.catalog = []
    rig.took(documents)
    rig.turns(70)
    assert rig.numbers() == [1, 2]


def test_plain_reconcile_finds_runs_that_nobody_named(rig: Rig):
    run = rig.took(step_scan(3))
    request = rig.ledger.ask(None)
    rig.turns(6)
    assert rig.ledger.answer_to(request) == (
        "1 open or incomplete runs looked into: 3 frames found, 0 runs closed, "
        "1 runs of which nothing had been heard were found in the catalog since the last answer"
    )
    assert rig.numbers() == [1, 2, 3]
    assert rig.ledger.runs(run)[0].whole
    assert rig.reconciliation.idle


def test_a_run_that_left_the_ledger_does_not_come_back(rig: Rig):
    documents = step_scan(1)
    run = rig.took(documents)
    rig.reconciliation.begin()
    rig.turns(6)
    for sink in ("redis", "tiled"):
        rig.ledger.delivered(sink, rig.ledger.undelivered(sink, 10))
        rig.ledger.run_opened(sink, run)
        rig.ledger.run_closed(sink, run)
    rig.catalog = [CatalogRun(run, rig.ledger.runs()[0].time)]
    assert rig.ledger.prune(LedgerSettings(keep_days=1e-9)) == [run]
    rig.ledger.agenda.read_up_to([])
    rig.looked.clear()
    rig.reconciliation.begin()
    rig.turns(6)
    assert rig.looked == []


def test_a_run_that_gave_way_to_newer_ones_is_ended_by_tiled(rig: Rig):
    documents = step_scan(4)
    run = rig.took(documents)
    rig.hear(documents[:5])  # one frame
    assumed = RunClosed(run, START, "fail", "no stop document came", {}, assumed=True)
    rig.agent.take([assumed])
    (record,) = rig.ledger.runs(run)
    assert not record.whole, "nobody knows how many frames it had"
    rig.turns(4)
    (record,) = rig.ledger.runs(run)
    assert (record.exit_status, record.expected, record.whole) == ("success", 4, True)
    assert rig.numbers() == [1, 2, 3, 4]


def test_frames_that_nobody_has_are_counted_as_missing(rig: Rig):
    documents = step_scan(4)
    rig.hear([documents[0], documents[-1]])
    rig.turns(4)
    assert rig.note(uid_of(documents)) == "4 frames are missing: Tiled does not have the run"


def test_a_request_is_answered_with_what_was_done(rig: Rig):
    first, second = step_scan(2), step_scan(3)
    rig.hear(first)
    rig.hear(second[:-1])
    rig.archive[uid_of(second)] = second
    request = rig.ledger.ask(None)
    assert not rig.reconciliation.idle
    rig.turns()
    assert rig.ledger.answer_to(request) == (
        "1 open or incomplete runs looked into: 0 frames found, 1 runs closed, "
        "redis: 6 predictions again, tiled: complete"
    )
    assert sorted(rig.auditors["redis"].asked) == sorted([[uid_of(first)], [uid_of(second)]])
    assert rig.reconciliation.idle


def test_a_run_that_the_books_do_not_have_can_be_named(rig: Rig):
    documents = step_scan(2, metadata={"sample": "PbS"})
    rig.archive[uid_of(documents)] = documents
    rig.auditors["tiled"].result = Unavailable("Tiled is away")
    request = rig.ledger.ask(uid_of(documents))
    unknown = rig.ledger.ask("no such run")
    rig.turns(10)
    assert "2 frames found" in str(rig.ledger.answer_to(request))
    assert "tiled: Tiled is away" in str(rig.ledger.answer_to(request))
    assert "0 frames found" in str(rig.ledger.answer_to(unknown))
    assert rig.numbers() == [1, 2]
    (opened,) = rig.ledger.runs_to_open("redis")
    assert opened.metadata["sample"] == "PbS"


def test_a_store_that_is_slow_with_many_runs_is_waited_for_while_it_answers(rig: Rig):
    """What it has said by the time that it says nothing more stands in the answer."""
    answers: list[Future[int]] = []

    def audit(_: Sequence[str]) -> Future[int]:
        answers.append(Future())
        return answers[-1]

    rig.auditors["tiled"].audit = audit  # type: ignore[method-assign]
    for _ in range(4):
        rig.hear(step_scan(1))
    request = rig.ledger.ask(None)
    rig.turns(4)
    for future in answers[:3]:
        rig.turns(1, seconds=0.9 * reconciliation.PATIENCE_S)
        assert rig.ledger.answer_to(request) is None
        future.set_result(0)
    rig.turns(3, seconds=0.9 * reconciliation.PATIENCE_S)
    assert str(rig.ledger.answer_to(request)).endswith(
        "tiled: complete for 3 runs, has not answered for 1"
    )


def test_a_look_ends_when_somebody_never_answers(rig: Rig):
    rig.auditors["redis"].audit = lambda _: Future()  # type: ignore[method-assign]
    rig.hear(step_scan(1))
    request = rig.ledger.ask(None)
    rig.turns(4)
    assert rig.ledger.answer_to(request) is None
    rig.turns(1, seconds=reconciliation.PATIENCE_S + 1.0)
    assert "redis: has not answered" in str(rig.ledger.answer_to(request))
