"""Dark and background runs: from the books or the archive, waited for a little, never for ever."""

from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from qd_agent.companions import MOST_FRAMES, RUNS_KEPT, Away, Companions
from qd_agent.core.errors import BadFrame, Unavailable
from qd_agent.core.frame import Declared, Frame, FrameReference, RunClosed, RunOpened
from qd_agent.ledger import DARK, Ledger
from qd_agent.reduction import ReductionSettings, open_reducers
from qd_agent.reduction.corrections import RUNS_KEPT as DARKS_KEPT
from qd_agent.run_search import ASK_AGAIN_S, WAIT_S, RunFinder, RunSearch
from tests.helpers import records
from tests.unit.reduction.conftest import PONI, SHAPE


class Reader:
    def __init__(self) -> None:
        self.problems: dict[str, Exception] = {}

    def read(self, reference: FrameReference) -> Frame:
        if str(reference.key) in self.problems:
            raise self.problems[str(reference.key)]
        if reference.key.run_uid in self.problems:
            raise self.problems[reference.key.run_uid]
        return Frame(reference, np.zeros(reference.shape))

    def close(self) -> None: ...


class Reducer:
    """Remembers what it was given."""

    def __init__(self) -> None:
        self.darks: list[tuple[str, str, int]] = []
        self.backgrounds: dict[tuple[str, str], list[int]] = {}
        self.forgotten: list[str] = []
        self.lost: set[str] = set()

    def keeps(self, run_uid: str, data_key: str, role: str) -> bool:
        return run_uid not in self.lost

    def demands_dark(self, reference: FrameReference) -> bool:
        return True

    def check_whole(self, frame, pattern, *, dark_announced) -> None: ...

    def wants(self, reference: FrameReference) -> tuple[str, str]:
        return reference.declared.dark_run, reference.declared.background_run

    def add_dark(self, frame: Frame, role: str = "own") -> None:
        key = frame.reference.key
        self.darks.append((key.run_uid, role, key.seq_num))

    def add_background(self, frames, key, *, dark_announced: bool) -> list[str]:
        self.dark_announced = dark_announced
        found = [frame.reference.key.seq_num for frame in frames]
        if not found:
            raise BadFrame("it holds no frame of this detector")
        self.backgrounds[key.run_uid, key.data_key] = found
        return []

    def made_from(self, reference: FrameReference) -> dict[str, str]:
        return {}

    def forget_run(self, run_uid: str) -> None:
        self.forgotten.append(run_uid)


@dataclass
class Rig:
    """Companions over a real ledger, with an archive that a test answers for."""

    ledger: Ledger
    reader: Reader = field(default_factory=Reader)
    reducer: Reducer = field(default_factory=Reducer)
    asked: list[tuple[str, Future]] = field(default_factory=list)
    clock: float = 0.0
    archive: dict[str, list[FrameReference]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        finder = RunFinder(self.look, lambda documents: self.archive[documents[0][1]["uid"]])
        search = RunSearch(self.ledger, finder, lambda: self.clock)
        self.companions = Companions(
            self.ledger, search, self.reader, self.reducer, frozenset({"dark"})
        )

    def look(self, run_uid: str) -> Future:
        self.asked.append((run_uid, Future()))
        return self.asked[-1][1]

    def answer(self, *names: str) -> None:
        run_uid, future = self.asked[-1]
        future.set_result([(name, {"uid": run_uid}) for name in names] or None)

    def run(self, uid: str, *references: FrameReference, stop: bool = True) -> None:
        self.ledger.open_run(RunOpened(uid, 1.0, {}))
        for reference in references:
            role = DARK if reference.key.stream == "dark" else "sample"
            self.ledger.see(reference, role)
        if stop:
            self.ledger.close_run(RunClosed(uid, 2.0, "success", "", {}))

    def bring(self, dark: str = "", background: str = "", run: str = "run-1") -> str | None:
        """Bring what a frame needs; give the reason where something is away."""
        away = self.away(dark, background, run)
        return None if away is None else away.reason

    def away(self, dark: str = "", background: str = "", run: str = "run-1") -> Away | None:
        declared = Declared(dark_run=dark, background_run=background)
        return self.companions.bring(replace(records.reference(run), declared=declared))


@pytest.fixture
def poni(tmp_path: Path) -> Path:
    path = tmp_path / "small.poni"
    path.write_text(PONI.format(shape="[200, 180]", wavelength=1.839e-11))
    return path


@pytest.fixture
def rig(tmp_path: Path):
    made = Rig(Ledger(tmp_path / "ledger.sqlite", "pbs-1", ["redis"]))
    yield made
    made.ledger.close()


def frames(run: str, stream: str, count: int) -> list[FrameReference]:
    return [records.reference(run, number, stream) for number in range(1, count + 1)]


def test_a_dark_run_in_the_books_is_read_once_for_all_that_name_it(rig: Rig):
    rig.run("d", *frames("d", "primary", 3))
    assert rig.bring(dark="d") is None
    assert rig.bring(dark="d", run="run-2") is None
    assert rig.reducer.darks == [("d", "named", 1), ("d", "named", 2), ("d", "named", 3)]
    assert rig.asked == []


def test_of_a_run_with_samples_and_darks_the_darks_are_meant(rig: Rig):
    rig.run("d", *frames("d", "primary", 2), *frames("d", "dark", 1))
    assert rig.bring(dark="d") is None
    assert rig.reducer.darks == [("d", "named", 1)]


def test_of_a_long_dark_run_the_last_frames_are_read(rig: Rig):
    rig.run("d", *frames("d", "primary", MOST_FRAMES + 5))
    assert rig.bring(dark="d") is None
    assert [number for *_, number in rig.reducer.darks] == list(range(6, MOST_FRAMES + 6))


def test_a_run_that_is_still_open_is_waited_for(rig: Rig):
    rig.run("d", *frames("d", "primary", 1), stop=False)
    assert rig.bring(dark="d") == "the dark run d is away: it has not ended"
    rig.ledger.close_run(RunClosed("d", 2.0, "success", "", {}))
    assert rig.bring(dark="d") is None
    assert rig.reducer.darks == [("d", "named", 1)]


def test_a_run_of_which_the_books_know_nothing_comes_from_the_archive(rig: Rig):
    rig.archive["b"] = [*frames("b", "primary", 2), *frames("b", "dark", 1)]
    assert rig.bring(background="b") == "the background run b is away: it is looked for in Tiled"
    assert rig.bring(background="b") is not None
    assert len(rig.asked) == 1
    rig.answer("start", "stop")
    assert rig.bring(background="b") is None
    assert rig.reducer.backgrounds == {("b", "det"): [1, 2]}
    assert rig.reducer.darks == [("b", "own", 1)]


def test_a_background_run_brings_the_dark_run_that_it_names(rig: Rig):
    declared = Declared(dark_run="d")
    rig.run("b", *[replace(r, declared=declared) for r in frames("b", "primary", 1)])
    rig.run("d", *frames("d", "primary", 1))
    assert rig.bring(background="b") is None
    assert rig.reducer.darks == [("d", "named", 1)]
    assert rig.reducer.backgrounds == {("b", "det"): [1]}


def test_the_darks_of_a_background_run_are_not_counted_twice(rig: Rig):
    rig.run("b", *frames("b", "primary", 1), *frames("b", "dark", 2))
    assert rig.bring(run="b") is None  # it was sized as any other
    assert rig.bring(background="b") is None
    assert rig.reducer.darks == [("b", "own", 1), ("b", "own", 2)]


def test_frames_go_on_without_a_run_that_nobody_has_and_it_is_asked_for_once_a_minute(rig: Rig):
    assert rig.bring(dark="d") is not None
    rig.answer()
    for _ in range(5):
        assert rig.bring(dark="d") is None
    assert len(rig.asked) == 1
    rig.clock += ASK_AGAIN_S
    rig.archive["d"] = frames("d", "primary", 1)
    assert rig.bring(dark="d") is not None
    rig.answer("start", "stop")
    assert rig.bring(dark="d") is None
    assert rig.reducer.darks == [("d", "named", 1)]


@pytest.mark.parametrize("problem", [Unavailable("Tiled is away"), BadFrame("not understood")])
def test_an_archive_that_fails_costs_no_frame(rig: Rig, problem: Exception):
    assert rig.bring(background="b") is not None
    rig.asked[-1][1].set_exception(problem)
    assert rig.bring(background="b") is None
    assert rig.reducer.backgrounds == {}


def test_an_archive_that_does_not_answer_is_not_waited_for_long(rig: Rig):
    assert rig.bring(dark="d") is not None
    rig.clock += WAIT_S + 1
    assert rig.bring(dark="d") is None
    assert len(rig.asked) == 1
    rig.archive["d"] = frames("d", "primary", 1)
    rig.answer("start", "stop")  # it does, in the end
    rig.clock += ASK_AGAIN_S
    assert rig.bring(dark="d") is None
    assert rig.reducer.darks == [("d", "named", 1)]


@pytest.mark.parametrize(
    ("names", "found"), [(("start",), 1), (("start", "stop"), 0)], ids=["not ended", "no frames"]
)
def test_a_run_that_cannot_serve_is_done_without(rig: Rig, names: tuple[str, ...], found: int):
    rig.archive["d"] = frames("d", "primary", found)
    assert rig.bring(dark="d") is not None
    rig.answer(*names)
    assert rig.bring(dark="d") is None
    assert rig.reducer.darks == []


def test_files_that_are_away_are_waited_for_and_unreadable_ones_left_out(rig: Rig):
    rig.run("b", *frames("b", "primary", 2))
    rig.reader.problems["b"] = Unavailable("being written")
    assert rig.bring(background="b") == "the background run b is away: being written"
    rig.reader.problems["b"] = BadFrame("no HDF5 file")
    assert rig.bring(background="b") is None
    assert rig.reducer.backgrounds == {}


def test_a_background_frame_that_contradicts_itself_is_left_out_and_a_dark_is_used(rig: Rig):
    two = Declared({"monitor": 1.0}, conflict="the monitor is 1 in event.a but 2 in event.b")
    lights, darks = frames("b", "primary", 3), frames("d", "primary", 2)
    rig.run("b", *lights[:2], replace(lights[2], declared=two))
    rig.run("d", *(replace(dark, declared=two) for dark in darks))
    with capture_logs() as said:
        assert rig.bring(dark="d", background="b") is None
    assert rig.reducer.backgrounds == {("b", "det"): [1, 2]}
    assert [seq_num for _, _, seq_num in rig.reducer.darks] == [1, 2]
    assert [one["reason"] for one in said] == [two.conflict]


def test_no_dark_is_taken_twice_when_a_later_one_is_away(rig: Rig):
    darks = frames("d", "primary", 3)
    rig.run("d", *darks)
    rig.reader.problems[str(darks[2].key)] = Unavailable("being written")
    assert rig.bring(dark="d") == "the dark run d is away: being written"
    assert rig.bring(dark="d") is not None
    rig.reader.problems.clear()
    assert rig.bring(dark="d") is None
    assert [number for *_, number in rig.reducer.darks] == [1, 2, 3]


def test_inline_pixels_that_the_books_no_longer_hold_come_from_the_archive(rig: Rig):
    gone = replace(records.inline_reference("d"), array=None)
    rig.run("d", gone)
    rig.archive["d"] = [records.inline_reference("d")]
    assert rig.bring(dark="d") is not None
    rig.answer("start", "stop")
    assert rig.bring(dark="d") is None
    assert rig.reducer.darks == [("d", "named", 1)]


def test_a_run_that_ends_keeps_what_others_may_name_and_old_ones_are_let_go(rig: Rig):
    for number in range(RUNS_KEPT + 1):
        rig.run(f"d{number}", *frames(f"d{number}", "primary", 1))
    assert rig.bring(dark="d0") is None
    rig.companions.forget("d0")
    rig.companions.forget("other")
    assert rig.reducer.forgotten == ["other"]
    for number in range(1, RUNS_KEPT + 1):
        assert rig.bring(dark=f"d{number}") is None
    assert rig.reducer.forgotten == ["other", "d0"]
    assert rig.bring(dark="d0") is None  # named again, it is read again
    assert [run for run, *_ in rig.reducer.darks].count("d0") == 2


def test_what_the_frame_in_hand_needs_is_not_let_go_however_old_it_is(rig: Rig):
    """All runs of a day name one dark run, and each a background of its own."""
    rig.run("d", *frames("d", "primary", 1))
    for number in range(RUNS_KEPT):
        rig.run(f"b{number}", *frames(f"b{number}", "primary", 1))
        assert rig.bring(dark="d", background=f"b{number}") is None
        assert "d" not in rig.reducer.forgotten
    assert rig.reducer.forgotten == ["b0"]


def test_a_run_that_others_name_keeps_its_own_darks_while_its_frames_are_answered(rig: Rig):
    rig.run("b", *frames("b", "primary", 1), *frames("b", "dark", 1))
    assert rig.bring(background="b", run="sample") is None
    for number in range(RUNS_KEPT):
        rig.run(f"b{number}", *frames(f"b{number}", "primary", 1))
        assert rig.bring(background=f"b{number}", run="b") is None
        assert "b" not in rig.reducer.forgotten


@pytest.mark.parametrize("role", ["own", "dark", "background"])
def test_what_the_reducer_has_let_go_is_read_again(rig: Rig, role: str):
    stream = "primary" if role == "background" else "dark"
    rig.run("d", *frames("d", stream, 2))
    needs = {"run": "d"} if role == "own" else {role: "d"}
    assert rig.bring(**needs) is None
    before = len(rig.reducer.darks)
    rig.reducer.lost.add("d")
    rig.reducer.backgrounds.clear()
    assert rig.bring(**needs) is None
    assert rig.reducer.forgotten == ["d"]
    if role == "background":
        assert rig.reducer.backgrounds == {("d", "det"): [1, 2]}
    else:
        assert len(rig.reducer.darks) == 2 * before


def test_of_many_runs_that_are_answered_in_turns_none_loses_its_dark(tmp_path: Path, poni: Path):
    """A real reducer, which keeps the darks of a few runs."""
    reducers = open_reducers(ReductionSettings(poni=poni), {})
    made = Rig(Ledger(tmp_path / "ledger.sqlite", "pbs-1", ["redis"]), reducer=reducers)
    uids = [f"run-{number}" for number in range(DARKS_KEPT + 2)]
    for uid in uids:
        made.run(uid, replace(frames(uid, "dark", 1)[0], shape=SHAPE), stop=False)

    def dark_of(uid: str) -> str:
        assert made.bring(run=uid) is None
        return reducers.made_from(records.reference(uid))["dark_hash"]

    first = [dark_of(uid) for uid in uids]
    assert all(first)
    assert [dark_of(uid) for uid in uids] == first
    made.ledger.close()


def test_a_frame_waits_for_its_own_dark_as_for_its_own_pixels(rig: Rig):
    rig.run("run-1", *frames("run-1", "dark", 1))
    rig.reader.problems["run-1"] = Unavailable("its file is not there")
    away = rig.away()
    assert away == Away("a dark of the run is away: its file is not there", essential=True)


def test_it_does_not_wait_so_for_another_run_that_may_never_come(rig: Rig):
    away = rig.away(dark="never-heard-of")
    assert away is not None
    assert not away.essential


@pytest.mark.parametrize("role", ["own", "named"])
def test_a_background_has_its_dark_again_when_the_reducer_has_let_go_of_that(rig: Rig, role: str):
    owner = "b" if role == "own" else "d"
    declared = Declared(dark_run="" if role == "own" else "d")
    rig.run("d", *frames("d", "primary", 1))
    lights = [replace(light, declared=declared) for light in frames("b", "primary", 1)]
    rig.run("b", *lights, *(frames("b", "dark", 1) if role == "own" else []))
    assert rig.companions.bring(lights[0]) is None  # it was sized as any other
    rig.reducer.lost.add(owner)
    assert rig.bring(background="b") is None
    assert rig.reducer.darks == [(owner, role, 1)] * 2
    assert rig.reducer.forgotten == [owner]


def test_the_darks_of_a_run_that_others_name_count_once_when_it_is_tried_again(rig: Rig):
    rig.run("b", *frames("b", "primary", 1), *frames("b", "dark", 2))
    assert rig.bring(run="b") is None
    assert rig.bring(background="b") is None
    rig.companions.forget("b")  # it has ended
    assert rig.bring(run="b") is None
    assert rig.reducer.darks == [("b", "own", 1), ("b", "own", 2)]


def test_a_dark_run_of_which_a_part_was_read_and_let_go_begins_anew(rig: Rig):
    darks = frames("d", "primary", 3)
    rig.run("d", *darks)
    rig.reader.problems[str(darks[2].key)] = Unavailable("being written")
    assert rig.bring(dark="d") is not None
    rig.reducer.lost.add("d")
    rig.reader.problems.clear()
    assert rig.bring(dark="d") is None
    assert [number for *_, number in rig.reducer.darks] == [1, 2, 1, 2, 3]


@pytest.mark.parametrize("darks", [0, 1])
def test_of_a_background_it_is_known_whether_it_was_to_have_a_dark(rig: Rig, darks: int):
    rig.run("b", *frames("b", "primary", 1), *frames("b", "dark", darks))
    rig.reader.problems.update({str(r.key): BadFrame("damaged") for r in frames("b", "dark", 1)})
    assert rig.bring(background="b") is None
    assert rig.reducer.dark_announced == bool(darks)
