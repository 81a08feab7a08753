"""A file whose frames cannot be read is told once, and once more when that has ended."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from qd_agent.away import AwayFiles
from qd_agent.core.frame import FrameReference, Hdf5Location
from qd_agent.ledger import Ledger
from qd_agent.ledger.records import Todo
from tests.helpers import records


class Scene:
    def __init__(self, path: Path):
        self.ledger = Ledger(path, "pbs-1", ["redis"])
        self.files = AwayFiles(self.ledger)

    def put_off(self, number: int, uri: str = "file://localhost/cut.h5", run: str = "run-1"):
        reference = of_file(number, uri, run)
        self.ledger.see(reference)
        self.ledger.put_off(Todo(reference), due=1.0)
        self.files.put_off(reference, "it is cut", 1.0)

    def answer(self, number: int, uri: str = "file://localhost/cut.h5", run: str = "run-1"):
        self.ledger.predict(records.prediction(run, number), None, None)
        self.files.answered(of_file(number, uri, run), set_aside=number % 2 == 0)


def of_file(number: int, uri: str, run: str) -> FrameReference:
    made = records.reference(run, number)
    place = Hdf5Location(uri=uri, dataset="/d", row=number)
    return FrameReference(made.key, made.time, place, made.shape, made.dtype)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path / "ledger.sqlite")
    yield made
    made.ledger.close()
    structlog.reset_defaults()


def test_a_hundred_frames_of_a_cut_file_are_two_warnings(scene: Scene):
    with capture_logs() as logs:
        for number in range(1, 101):
            scene.put_off(number)
        for number in range(1, 101):
            scene.answer(number)
    told = [entry for entry in logs if entry["log_level"] == "warning"]
    assert [entry["event"].split(",")[0] for entry in told] == [
        "frame is away",
        "frames that were away have their answers",
    ]
    assert told[0]["reason"] == "it is cut"
    assert (told[1]["set_aside"], told[1]["answered"]) == (50, 50)
    assert told[1]["file"] == "file://localhost/cut.h5"
    assert sum(entry["log_level"] == "debug" for entry in logs) == 99


def test_every_file_is_told_by_itself_and_anew_when_it_goes_away_again(scene: Scene):
    with capture_logs() as logs:
        scene.put_off(1)
        scene.put_off(2, "file://localhost/other.h5", "run-2")
        scene.answer(1)
        scene.put_off(3)
    warned = [entry["frame"] for entry in logs if entry["log_level"] == "warning"]
    assert [frame.split("/")[0] for frame in warned] == ["run-1", "run-2", "run-1"]


def test_files_that_come_back_are_no_warning(scene: Scene):
    with capture_logs() as logs:
        scene.put_off(1)
        scene.answer(1)
    assert [entry["log_level"] for entry in logs] == ["warning", "info"]


def test_files_without_end_take_no_memory_without_end(scene: Scene):
    for number in range(1, 1200):
        scene.files.put_off(of_file(number, f"file://localhost/{number}.h5", "run-1"), "gone", 1.0)
    assert len(scene.files._files) == 1000
