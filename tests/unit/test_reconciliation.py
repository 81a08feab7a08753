"""The books against files, Tiled and stores: what was missed is found, and said when it is not."""

import time
from collections.abc import Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from qd_agent import agent, discovery, quiet_runs, reconciliation
from qd_agent.agent import Agent, Stages
from qd_agent.core.catalog import CatalogPage, CatalogRun
from qd_agent.core.errors import Unavailable
from qd_agent.core.frame import Frame, FrameReference
from qd_agent.core.pattern import Pattern
from qd_agent.core.ports import Document
from qd_agent.core.prediction import Sized
from qd_agent.documents import RouterSettings, open_router
from qd_agent.discovery import Discovery
from qd_agent.ledger import Ledger
from qd_agent.ledger.settings import ReconcileSettings
from qd_agent.quiet_runs import QuietRuns
from qd_agent.reconciliation import Reconciliation
from tests.helpers import records
from tests.helpers.documents import RunOfDocuments, scan_with_darks, step_scan

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

    def add_dark(self, frame: Frame) -> None: ...

    def dark_hash(self, run_uid: str) -> str:
        return ""

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

    def took(self, documents: list[Document], at: float = START) -> str:
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


def test_an_incomplete_run_is_looked_up_once_and_its_frames_come_from_tiled(rig: Rig):
    documents = step_scan(4)
    run = uid_of(documents)
    rig.archive[run] = documents
    rig.hear([documents[0], documents[-1]])  # nothing else was received
    assert rig.agent.incomplete == {run}
    rig.turns(20)
    assert rig.looked == [run]
    assert rig.numbers() == [1, 2, 3, 4]
    (record,) = rig.ledger.runs(run)
    assert (record.account.sized, record.missing) == (4, 0)


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
        "redis: 3 predictions again, tiled: complete"
    )
    assert rig.auditors["redis"].asked == [sorted([uid_of(first), uid_of(second)])]
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


def test_a_look_ends_when_somebody_never_answers(rig: Rig):
    rig.auditors["redis"].audit = lambda _: Future()  # type: ignore[method-assign]
    rig.hear(step_scan(1))
    request = rig.ledger.ask(None)
    rig.turns(2)
    assert rig.ledger.answer_to(request) is None
    rig.turns(1, seconds=reconciliation.PATIENCE_S + 1.0)
    assert "redis: has not answered" in str(rig.ledger.answer_to(request))
