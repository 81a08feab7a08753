"""The path gives every frame one answer, and keeps going whatever a stage says."""

from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from qd_agent.core.errors import Fatal
from qd_agent.core.frame import RunClosed, RunOpened
from qd_agent.core.prediction import Verdict
from qd_agent.documents import MetadataSettings, RouterSettings, judge_again, open_router
from qd_agent.documents.metadata_settings import KEV_ANGSTROM
from qd_agent.health import Health
from qd_agent.intake import DocumentQueue
from qd_agent.refusals import SAID
from qd_agent.service import Service
from tests.helpers import records
from tests.helpers.baseline import BEFORE, run_with_a_baseline
from tests.helpers.documents import DETECTOR, RunOfDocuments, scan_with_darks, step_scan
from tests.helpers.hostile_documents import DOCUMENTS, OPENING
from tests.helpers.small_agent import Rig
from tests.helpers.small_agent import rig as _rig
from tests.helpers.sources import Source

rig = _rig


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


def rewound_inline(shape=(8, 6)) -> RunOfDocuments:
    """Images inside of events 1, 2, 3, of which a pause took back the last one, then 4."""
    run = RunOfDocuments(shape=shape)
    run.declare_inline()
    for at, number in enumerate((1, 2, 3, 3, 4)):
        run.time += 10.0
        run.event(number, **{DETECTOR: np.full(shape, at, "<u2")})
    return run


def test_an_image_that_is_taken_again_after_a_restart_is_a_frame_of_its_own(tmp_path: Path):
    documents = rewound_inline().stop(primary=4)
    for cut in range(1, len(documents)):
        path = tmp_path / f"{cut}.sqlite"
        first = Rig(path, open_router(RouterSettings()))
        first.agent.note_all(documents[:cut])
        first.ledger.close()
        second = Rig(path, open_router(RouterSettings()))
        second.agent.recover()
        # What came last comes once more, as from a broker that was not told that it had arrived.
        second.agent.note_all(documents[max(0, cut - 1) :])
        (record,) = second.ledger.runs()
        taken = [(f.key.seq_num, f.key.index) for f in second.ledger.frames(record.uid)]
        assert taken == [(1, 0), (2, 0), (3, 0), (3, 1), (4, 0)], cut
        assert record.whole
        second.ledger.close()


def test_a_frame_that_was_lost_is_missed_also_where_another_one_was_taken_again(tmp_path: Path):
    run = rewound_inline()
    documents = [d for d in run.stop(primary=4) if d[1].get("seq_num") != 4]
    rig = Rig(tmp_path / "ledger.sqlite", open_router(RouterSettings()))
    rig.agent.note_all(documents)
    (record,) = rig.ledger.runs()
    assert (record.expected, record.account.seen, record.missing) == (4, 4, 1)
    assert list(rig.ledger.agenda.all()) == [run.uid]
    rig.ledger.close()
