"""Bluesky's own plans with simulated devices run past the agent without harm."""

from contextlib import suppress
from types import SimpleNamespace

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import bluesky.preprocessors as bpp
import pytest
from bluesky import RunEngine, RunEngineInterrupted
from cycler import cycler
from ophyd import sim
from ophyd_async.core import StaticPathProvider, UUIDFilenameProvider, init_devices
from ophyd_async.sim import SimBlobDetector, SimMotor
from structlog.testing import capture_logs

from qd_agent.agent import Agent
from qd_agent.answers import Stages
from qd_agent.core.prediction import Verdict
from qd_agent.documents import RouterSettings, open_router
from qd_agent.documents.in_process import InProcessSource
from qd_agent.frames import FrameSettings, open_reader
from qd_agent.inference import open_sizer
from qd_agent.ledger import Ledger
from qd_agent.reduction import ReductionSettings, open_reducers
from tests.helpers import records
from tests.unit.reduction.conftest import PONI

DET, MOTOR, MOTOR1, MOTOR2 = sim.det, sim.motor, sim.motor1, sim.motor2


class MistakenError(Exception):
    """A plan's own."""


def failing():
    yield from bps.open_run()
    yield from bps.trigger_and_read([DET])
    raise MistakenError


def two_streams():
    @bpp.run_decorator()
    def inner():
        yield from bps.trigger_and_read([DET], name="one")
        yield from bps.trigger_and_read([MOTOR], name="two")

    yield from inner()


def nested():
    @bpp.set_run_key_decorator("outer")
    @bpp.run_decorator()
    def outer():
        yield from bps.trigger_and_read([DET])
        yield from bpp.set_run_key_wrapper(bp.count([sim.det1], 2), "inner")

    yield from outer()


PLANS = {
    "count": lambda: bp.count([DET, sim.noisy_det], 3),
    "count for nothing": lambda: bp.count([], 1),
    "scan": lambda: bp.scan([DET], MOTOR, -1, 1, 3),
    "rel_scan": lambda: bp.rel_scan([DET], MOTOR, -1, 1, 3),
    "list_scan": lambda: bp.list_scan([DET], MOTOR, [0, 1, 3]),
    "log_scan": lambda: bp.log_scan([DET], MOTOR, 0.1, 1, 3),
    "grid_scan": lambda: bp.grid_scan([sim.det4], MOTOR1, 0, 1, 2, MOTOR2, 0, 1, 2, True),
    "list_grid_scan": lambda: bp.list_grid_scan([sim.det4], MOTOR1, [0, 1], MOTOR2, [0, 1]),
    "spiral": lambda: bp.spiral([sim.det4], MOTOR1, MOTOR2, 0, 0, 1, 1, 0.5, 4),
    "spiral_fermat": lambda: bp.spiral_fermat([sim.det4], MOTOR1, MOTOR2, 0, 0, 1, 1, 0.5, 1),
    "scan_nd": lambda: bp.scan_nd([DET], cycler(MOTOR1, [0, 1]) * cycler(MOTOR2, [0, 1])),
    "adaptive_scan": lambda: bp.adaptive_scan([DET], "det", MOTOR, -5, 5, 0.5, 5, 0.1, True),
    "tune_centroid": lambda: bp.tune_centroid([DET], "det", MOTOR, -1, 1, 0.5, 3),
    "x2x_scan": lambda: bp.x2x_scan([DET], MOTOR1, MOTOR2, 0, 1, 3),
    "two streams": two_streams,
    "nested runs": nested,
    "monitored": lambda: bpp.monitor_during_wrapper(bp.count([DET], 2), [sim.rand]),
    "baseline": lambda: bpp.baseline_wrapper(bp.count([DET], 2), [MOTOR1, MOTOR2]),
    "failing": failing,
}


NO_STAGES = SimpleNamespace(reader=None, reducer=SimpleNamespace(forget_run=lambda _: None))


class Beside:
    """A RunEngine, and an agent (without stages, where none are given) that takes its documents."""

    def __init__(self, folder, stages=NO_STAGES):
        self.engine = RunEngine({}, context_managers=[])
        self.source = InProcessSource(folder)
        self.ledger = Ledger(folder / "ledger.sqlite", "pbs-1", ["redis"])
        self.agent = Agent(
            open_router(RouterSettings()),
            stages,  # type: ignore[arg-type]
            self.ledger,
            provenance=records.provenance(),
            streams=frozenset({"primary"}),
            dark_streams=frozenset({"dark"}),
        )
        self.engine.subscribe(self.source.put)

    def run(self, plan):
        """Run a plan and let the agent take its documents; give what it has to say of them."""
        with suppress(MistakenError):
            self.engine(plan)
        return self.hear()

    def hear(self):
        """Let the agent take the documents that came; give what it has to say of them."""
        with capture_logs() as said:
            while (document := self.source.receive(0.0)) is not None:
                self.agent.note(*document)
        return [line for line in said if line["log_level"] != "info"]


@pytest.fixture
def beside(tmp_path):
    made = Beside(tmp_path)
    yield made
    made.source.close()
    made.ledger.close()


@pytest.mark.parametrize("name", PLANS)
def test_a_run_without_a_detector_leaves_the_agent_quiet(beside, name):
    assert beside.run(PLANS[name]()) == []
    runs = beside.ledger.runs()
    assert runs
    assert all(run.exit_status is not None for run in runs)
    assert all((run.account.seen, run.missing) == (0, 0) for run in runs)
    assert not beside.ledger.agenda.all()
    assert beside.ledger.darks(runs[0].uid) == []


def test_images_inside_of_events_are_frames(beside):
    assert beside.run(bp.count([sim.direct_img, DET], 3)) == []
    (run,) = beside.ledger.runs()
    assert (run.account.seen, run.account.open) == (3, 3)


def interrupted(shots, then):
    """Take some frames, be paused, and take others."""

    @bpp.run_decorator()
    def inner():
        for n in range(shots):
            yield from bps.checkpoint()
            yield from bps.trigger_and_read([sim.direct_img])
            if n == 1:
                yield from bps.pause()
        yield from then()

    yield from inner()


def paused(beside, then=bps.null):
    """Run such a plan until it is paused, and give what the agent had to say meanwhile."""
    with suppress(RunEngineInterrupted):
        beside.engine(interrupted(4, then))
    return beside.hear()


def taken_of(beside, run_uid):
    """Give (seq_num, index) of a run's frames; a plan goes back to its last checkpoint."""
    return [(r.key.seq_num, r.key.index) for r in beside.ledger.frames(run_uid)]


def test_frames_taken_before_and_after_a_pause_are_all_known_once(beside):
    assert paused(beside) == []
    (open_run,) = beside.ledger.runs()
    assert (open_run.exit_status, open_run.account.seen) == (None, 2)
    beside.engine.resume()
    assert beside.hear() == []
    (run,) = beside.ledger.runs()
    assert (run.exit_status, run.missing) == ("success", 0)
    assert taken_of(beside, run.uid) == [(1, 0), (2, 0), (2, 1), (3, 0), (4, 0)]


@pytest.mark.parametrize(("end", "status"), [("abort", "abort"), ("stop", "success")])
def test_a_run_that_is_ended_while_paused_keeps_its_frames(beside, end, status):
    assert paused(beside) == []
    getattr(beside.engine, end)()
    assert beside.hear() == []
    (run,) = beside.ledger.runs()
    assert (run.exit_status, run.account.seen, run.missing) == (status, 2, 0)


def test_a_plan_that_fails_after_a_pause_keeps_its_frames(beside):
    def fail():
        yield from bps.null()
        raise MistakenError

    assert paused(beside, fail) == []
    with pytest.raises(MistakenError):
        beside.engine.resume()
    assert beside.hear() == []
    (run,) = beside.ledger.runs()
    assert (run.exit_status, run.account.seen, run.missing) == ("fail", 5, 0)


def test_a_detector_whose_files_nobody_reads_is_said_and_the_run_goes_on(beside):
    """`ophyd.sim.img` writes .npy files, by resource and datum."""
    said = beside.run(bp.count([sim.img], 2))
    assert {line["event"] for line in said} <= {"document refused", "run closed"}
    (run,) = beside.ledger.runs()
    assert run.exit_status == "success"


def test_ophyd_async_devices_give_their_frames_and_only_these(beside, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    paths = StaticPathProvider(UUIDFilenameProvider(), folder)
    with init_devices():
        motor = SimMotor("m", instant=True)
        blob = SimBlobDetector(paths, name="blob")
    assert beside.run(bp.scan([blob], motor, 0, 1, 3)) == []
    (run,) = beside.ledger.runs()
    assert run.account.seen == 3


def test_frames_of_an_ophyd_async_detector_are_read_reduced_and_answered(tmp_path):
    """A round blob on a detector of 240 × 320 bytes: nothing of it is a quantum dot."""
    folder, poni = tmp_path / "frames", tmp_path / "blob.poni"
    folder.mkdir()
    poni.write_text(PONI.format(shape="[240, 320]", wavelength=1.839e-11))
    reader = open_reader(FrameSettings(allowed_roots=[folder], deadline_s=5.0))
    reducers = open_reducers(ReductionSettings(poni=poni), {})
    made = Beside(tmp_path, Stages(reader, reducers, open_sizer()))
    with init_devices():
        motor = SimMotor("m", instant=True)
        blob = SimBlobDetector(StaticPathProvider(UUIDFilenameProvider(), folder), name="blob")
    try:
        assert made.run(bp.scan([blob], motor, 0, 1, 3)) == []
        made.agent.work_all()
        answers = [d.prediction for d in made.ledger.undelivered("redis", 10)]
        assert sorted((a.key.seq_num, a.readings["m"]) for a in answers) == [
            (1, 0.0),
            (2, 0.5),
            (3, 1.0),
        ]
        for answer in answers:
            assert (answer.verdict, answer.diameter_nm) == (Verdict.NO_NANOCRYSTALS, None)
            assert answer.reason.startswith("no PbS reflections beyond a smooth background")
    finally:
        made.source.close()
        made.ledger.close()
        reader.close()
