"""The path gives every frame one answer, and keeps going whatever a stage says."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from qd_agent.agent import Agent, DocumentRouter
from qd_agent.answers import MAX_CRASHES, TRIES_WITHOUT_DARK, Patience, Stages
from qd_agent.core.errors import BadFrame, Fatal, StorageAway, Unavailable
from qd_agent.core.frame import Frame, FrameReference, Happening, RunClosed, RunOpened
from qd_agent.core.pattern import Pattern
from qd_agent.core.prediction import Prediction, Sized, Verdict
from qd_agent.documents import MetadataSettings, RouterSettings, judge_again, open_router
from qd_agent.documents.metadata_settings import KEV_ANGSTROM
from qd_agent.health import Health
from qd_agent.intake import DocumentQueue
from qd_agent.ledger import Ledger, Todo
from qd_agent.refusals import SAID
from qd_agent.service import Service
from tests.helpers import records
from tests.helpers.baseline import BEFORE, run_with_a_baseline
from tests.helpers.documents import RunOfDocuments, scan_with_darks, step_scan
from tests.helpers.hostile_documents import DOCUMENTS, OPENING
from tests.helpers.sources import Source


class Script:
    """A router whose documents say themselves what happened."""

    def route(self, name: str, doc: Mapping[str, object]) -> list[Happening]:
        if name == "malformed":
            raise BadFrame("no such document")
        return doc["happenings"]  # type: ignore[return-value]

    def waiting_darks(self) -> list[Happening]:
        return []


class Reader:
    def __init__(self):
        self.problems: dict[int, list[BaseException]] = {}

    def read(self, reference: FrameReference) -> Frame:
        problems = self.problems.get(reference.key.seq_num)
        if problems:
            raise problems.pop(0)
        return Frame(reference, np.full(reference.shape, reference.key.seq_num))

    def close(self) -> None: ...


class Reducer:
    def __init__(self):
        self.darks: dict[str, int] = {}

    def reduce(self, frame: Frame) -> Pattern:
        ones = np.full(5004, float(frame.image.flat[0]))
        return Pattern(ones, np.zeros(5004), np.ones(5004), flags=("monitor_missing",))

    def check_whole(self, frame: Frame, pattern: Pattern, *, dark_announced: bool) -> None: ...

    def keeps(self, run_uid, data_key, role) -> bool:
        return True

    def demands_dark(self, reference) -> bool:
        return False

    def wants(self, reference):
        return "", ""

    def add_dark(self, frame: Frame, role: str = "own") -> None:
        run = frame.reference.key.run_uid
        self.darks[run] = self.darks.get(run, 0) + 1

    def made_from(self, reference):
        return {"dark_hash": f"{self.darks.get(reference.key.run_uid, 0)} darks"}

    def forget_run(self, run_uid: str) -> None:
        self.darks.pop(run_uid, None)


class Sizer:
    def size(self, patterns: Sequence[Pattern]) -> list[Sized]:
        return [Sized(records.sized(float(p.intensity[0])), p) for p in patterns]


class Rig:
    def __init__(
        self,
        path: Path,
        router: DocumentRouter | None = None,
        model: str = "pbs-1",
        **options: object,
    ):
        self.reader, self.reducer = Reader(), Reducer()
        options = {"newest_first": False, "patience": Patience((1.0, 5.0), 3), **options}
        self.ledger = Ledger(path, model, ["redis"])
        self.answers = 0
        self.agent = Agent(
            router or Script(),
            Stages(self.reader, self.reducer, Sizer()),
            self.ledger,
            provenance=records.provenance(),
            streams=frozenset({"primary"}),
            dark_streams=frozenset({"dark"}),
            on_answer=self._count,
            **options,  # type: ignore[arg-type]
        )

    def _count(self, _: Prediction) -> None:
        self.answers += 1

    def take(self, *happenings: Happening) -> None:
        self.agent.step("any", {"happenings": list(happenings)})

    def retry(self, times: int = 1) -> None:
        """Try what is away again, however long that would take."""
        for _ in range(times):
            self.agent.work(now=float("inf"))

    @property
    def away(self) -> int:
        return self.ledger.waiting()[1]

    def predictions(self):
        return [d.prediction for d in self.ledger.undelivered("redis", 100)]


@pytest.fixture
def rig(tmp_path: Path):
    made = Rig(tmp_path / "ledger.sqlite")
    yield made
    made.ledger.close()


def test_every_frame_gets_one_answer_in_order(rig: Rig):
    rig.take(RunOpened("run-1", 1.0, {}))
    rig.take(records.reference(seq_num=2), records.reference(seq_num=3))
    rig.take(records.reference(seq_num=2))
    assert [p.diameter_nm for p in rig.predictions()] == [2.0, 3.0]
    assert rig.answers == 2
    (first, _) = rig.predictions()
    assert set(first.latency_ms) == {"read", "reduce", "size"}
    assert first.flags == ("monitor_missing",)
    assert first.frame_time == records.reference(seq_num=2).time


def test_a_bad_frame_is_set_aside_with_its_reason_and_the_stream_goes_on(rig: Rig):
    rig.reader.problems[1] = [BadFrame("the file is cut short")]
    rig.take(records.reference(seq_num=1), records.reference(seq_num=2))
    bad, good = rig.predictions()
    assert (bad.verdict, bad.reason) == (Verdict.BAD_FRAME, "the file is cut short")
    assert bad.diameter_nm is None
    assert good.verdict is Verdict.SIZED


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


def test_dark_frames_are_taken_in_and_never_sized(rig: Rig):
    rig.take(records.reference(seq_num=1, stream="dark"))
    rig.take(records.reference(seq_num=2, stream="dark"))
    rig.take(records.reference(seq_num=1))
    (only,) = rig.predictions()
    assert only.provenance.dark_hash == "2 darks"


def test_a_run_that_stops_is_written_down_and_its_dark_freed_later(rig: Rig):
    rig.take(RunOpened("run-1", 1.0, {}))
    rig.take(records.reference(stream="dark"))
    # The stop itself can make frames known: they still need the dark.
    rig.take(records.reference(seq_num=1), RunClosed("run-1", 2.0, "success", "", {"primary": 1}))
    assert rig.predictions()[0].provenance.dark_hash == "1 darks"
    rig.take(RunOpened("run-2", 3.0, {}))
    assert rig.reducer.darks == {}


def test_a_new_process_takes_up_frames_and_darks_that_were_left(tmp_path: Path):
    first = Rig(tmp_path / "ledger.sqlite")
    first.take(records.reference(stream="dark"))
    first.reader.problems[1] = [Fatal("killed here")]
    with pytest.raises(Fatal):
        first.take(records.reference(seq_num=1))
    first.ledger.close()
    second = Rig(tmp_path / "ledger.sqlite")
    assert second.agent.recover() == 1
    second.agent.work_all()
    (only,) = second.predictions()
    assert (only.diameter_nm, only.provenance.dark_hash) == (1.0, "1 darks")
    second.ledger.close()


def test_a_malformed_document_changes_nothing(rig: Rig):
    rig.agent.step("malformed", {})
    assert rig.ledger.account().seen == 0


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


def test_darks_are_not_expected_to_be_answered(rig: Rig):
    rig.take(RunOpened("run-1", 1.0, {}))
    rig.take(RunClosed("run-1", 2.0, "success", "", {"primary": 4, "dark": 3}))
    (closed,) = rig.ledger.runs_to_close("redis")
    assert closed.expected == {"primary": 4}


@pytest.mark.parametrize(
    ("name", "document"), [doc for _, doc in DOCUMENTS], ids=[name for name, _ in DOCUMENTS]
)
def test_hostile_documents_leave_the_path_alive(tmp_path: Path, name: str, document: dict):
    made = Rig(tmp_path / "ledger.sqlite", router=open_router(RouterSettings()))
    for opening in OPENING:
        made.agent.step(*opening)
    made.agent.step(name, document)
    made.agent.step("start", {"uid": "run-2", "time": 1.0})
    assert "run-2" in made.ledger.run_uids()
    made.ledger.close()


def test_a_restart_between_any_two_documents_loses_no_frame(tmp_path: Path):
    documents = scan_with_darks(darks=2, frames=4)
    for cut in range(1, len(documents)):
        path = tmp_path / f"{cut}.sqlite"
        for part in (documents[:cut], documents[cut:]):
            made = Rig(path, router=open_router(RouterSettings()))
            made.agent.recover()
            made.agent.work_all()
            for name, doc in part:
                made.agent.step(name, doc)
            made.ledger.close()
        last = Rig(path)
        numbers = sorted(p.key.seq_num for p in last.predictions())
        assert numbers == [1, 2, 3, 4], f"restart after document {cut}"
        last.ledger.close()


def test_a_model_that_changes_between_any_two_documents_sizes_no_frame_twice(tmp_path: Path):
    documents = scan_with_darks(darks=2, frames=4)
    for cut in range(1, len(documents)):
        path = tmp_path / f"{cut}.sqlite"
        for part, model in ((documents[:cut], "pbs-1"), (documents[cut:], "pbs-2")):
            made = Rig(path, router=open_router(RouterSettings()), model=model)
            made.agent.recover()
            made.agent.work_all()
            for name, doc in part:
                made.agent.step(name, doc)
            account = made.ledger.account()
            made.ledger.close()
        last = Rig(path, model="pbs-2")
        numbers = sorted(p.key.seq_num for p in last.predictions())
        assert numbers == [1, 2, 3, 4], f"another model after document {cut}"
        assert (account.seen, account.open) == (4, 0)
        last.ledger.close()


def test_a_document_without_its_run_does_not_stop_the_next_start(tmp_path: Path):
    path = tmp_path / "ledger.sqlite"
    first = Rig(path, router=open_router(RouterSettings()))
    for opening in OPENING:
        first.agent.step(*opening)
    orphan = {"uid": "r", "data_key": "det", "mimetype": "application/x-hdf5", "uri": "file:///a"}
    first.agent.step("stream_resource", {**orphan, "parameters": {"dataset": "d"}})
    first.ledger.close()
    second = Rig(path, router=open_router(RouterSettings()))
    assert second.agent.recover() == 0
    second.ledger.close()


def test_another_model_answers_what_the_first_one_left(tmp_path: Path):
    path = tmp_path / "ledger.sqlite"
    first = Rig(path)
    first.take(RunOpened("run-1", 1.0, {}))
    first.take(records.reference(seq_num=1, stream="dark"))
    first.agent.note("any", {"happenings": [records.reference(seq_num=1)]})
    first.ledger.close()
    second = Rig(path, model="pbs-2")
    assert second.agent.recover() == 1
    second.agent.work_all()
    (only,) = second.predictions()
    assert only.provenance.dark_hash == "1 darks"
    assert second.ledger.account("run-1").as_counts()["open"] == 0
    second.ledger.close()


def test_a_flood_of_refused_documents_does_not_fill_the_log(rig: Rig):
    with capture_logs() as said:
        rig.agent.note_all([("malformed", {})] * (3 * SAID))
    assert len(said) == SAID + 2
    assert said[0]["reason"] == "no such document"
    assert said[-1]["refused"] == 3 * SAID


def test_the_same_documents_from_several_sources_give_every_frame_once(tmp_path: Path):
    """One source has lost what the other one has, and they come in any order."""
    rig = Rig(tmp_path / "ledger.sqlite", open_router(RouterSettings()))
    zmq = step_scan(6)
    kafka = list(zmq)
    lost = [n for n, (name, _) in enumerate(zmq) if name == "event"][:3]
    lossy = Source([document for n, document in enumerate(zmq) if n not in lost])
    slow = Source(kafka)

    def finished() -> bool:
        return lossy.dry.is_set() and slow.dry.is_set()

    Service(
        rig.agent,
        {"zmq": lossy, "kafka": slow},
        {},
        Health("agent", "zmq, kafka", "pbs-1"),
        documents=DocumentQueue(4),
        finished=finished,
    ).run()
    assert sorted(p.key.seq_num for p in rig.predictions()) == [1, 2, 3, 4, 5, 6]
    assert rig.ledger.account().as_counts()["seen"] == 6
    assert (sum(lossy.acknowledged), sum(slow.acknowledged)) == (len(zmq) - 3, len(kafka))
    rig.ledger.close()


def declared(mono_kev: float) -> list[tuple[str, dict]]:
    """Two frames of a run that states a wavelength of 0.1839 Å and an energy."""
    run = RunOfDocuments(metadata={"specimen": "PbS 7", "beamline": {"wavelength": 0.1839}})
    run.declare(configuration={"mono": {"mono_energy": mono_kev}, "det": {"acquire_time": 250}})
    run.open_file()
    run.shot()
    run.shot()
    return run.stop()


METADATA = MetadataSettings(
    wavelength=["start.beamline.wavelength", "configuration.mono.mono_energy keV"],
    exposure=["configuration.det.acquire_time ms"],
    temperature=["event.temperature K"],
    sample=["start.specimen"],
)


def test_what_is_declared_goes_with_every_frame_over_a_restart(tmp_path: Path):
    path, documents = tmp_path / "ledger.sqlite", declared(67.4194)
    first = Rig(path, open_router(RouterSettings(), METADATA))
    first.agent.note_all(documents[:3])
    first.ledger.close()
    second = Rig(path, open_router(RouterSettings(), METADATA))
    second.agent.recover()
    second.agent.note_all(documents[3:])
    second.ledger.close()
    third = Rig(path, open_router(RouterSettings(), METADATA))
    third.agent.recover()
    third.agent.work_all()
    one, two = third.predictions()
    assert (one.verdict, two.verdict) == (Verdict.SIZED, Verdict.SIZED)
    assert one.readings["exposure_s"] == pytest.approx(0.25)
    assert one.readings["wavelength_angstrom"] == 0.1839
    assert two.readings["temperature_celsius"] == pytest.approx(21.0 - 273.15)
    (opened,) = third.ledger.runs_to_open("redis")
    assert opened.metadata["sample_name"] == "PbS 7"
    third.ledger.close()


def test_frames_with_two_wavelengths_are_set_aside_and_both_are_named(tmp_path: Path):
    path, documents = tmp_path / "ledger.sqlite", declared(70.0)
    first = Rig(path, open_router(RouterSettings(), METADATA))
    first.agent.note_all(documents)
    first.ledger.close()
    rig = Rig(path, open_router(RouterSettings(), METADATA))
    rig.agent.recover()
    rig.agent.work_all()
    for prediction in rig.predictions():
        assert (prediction.verdict, prediction.diameter_nm) == (Verdict.BAD_FRAME, None)
        assert "0.1839 Å in start.beamline.wavelength" in prediction.reason
        assert "0.17712 Å in configuration.mono.mono_energy" in prediction.reason
    assert len(rig.predictions()) == 2
    assert rig.ledger.retry(judge=lambda declared: judge_again(declared, METADATA)) == 2
    rig.agent.work_all()
    assert {p.verdict for p in rig.predictions()} == {Verdict.BAD_FRAME}, "nothing was put right"
    right = METADATA.model_copy(update={"wavelength": ["start.beamline.wavelength"]})
    assert rig.ledger.retry(judge=lambda declared: judge_again(declared, right)) == 2
    rig.agent.work_all()
    answers = rig.predictions()
    assert {(p.verdict, p.revision) for p in answers} == {(Verdict.SIZED, 2)}
    assert {p.readings["wavelength_angstrom"] for p in answers} == {0.1839}
    rig.ledger.close()


def test_a_restart_between_any_two_documents_leaves_what_the_baseline_said(tmp_path: Path):
    documents = run_with_a_baseline(frames=3)
    declared = MetadataSettings(wavelength="event.energy keV")
    for cut in range(1, len(documents)):
        path = tmp_path / f"{cut}.sqlite"
        for part in (documents[:cut], documents[cut:]):
            made = Rig(path, router=open_router(RouterSettings(), declared))
            made.agent.recover()
            for name, doc in part:
                made.agent.step(name, doc)
            made.ledger.close()
        last = Rig(path)
        found = [p.readings.get("wavelength_angstrom") for p in last.predictions()]
        assert found == pytest.approx([KEV_ANGSTROM / BEFORE] * 3), f"restart after {cut}"
        last.ledger.close()


def test_a_restart_between_any_two_documents_changes_no_conflict(tmp_path: Path):
    documents = run_with_a_baseline(frames=3)
    documents[0] = "start", {**documents[0][1], "kelvin": 373.65, "a": "PbS 7", "b": "PbS 8"}
    settings = MetadataSettings(
        temperature=["event.furnace", "start.kelvin K"], sample=["start.a", "start.b"]
    )
    answers = []
    for cut in range(1, len(documents)):
        path = tmp_path / f"{cut}.sqlite"
        for part in (documents[:cut], documents[cut:]):
            made = Rig(path, router=open_router(RouterSettings(), settings))
            made.agent.recover()
            for name, doc in part:
                made.agent.step(name, doc)
            made.ledger.close()
        last = Rig(path)
        answers.append([(p.verdict, p.reason) for p in last.predictions()])
        last.ledger.close()
    assert answers == [answers[0]] * len(answers)
    assert [verdict for verdict, _ in answers[0]] == [Verdict.BAD_FRAME] * 3
    told = [reason.partition("the sample is 'PbS 7' in start.a") for _, reason in answers[0]]
    assert [bool(sample) for _, sample, _ in told] == [True] * 3
    hot = [temperature.partition(":")[0] for temperature, _, _ in told]
    assert hot == [
        "",
        "",
        "the temperature is 102 °C in event.furnace but 100.5 °C in start.kelvin (K)",
    ]
