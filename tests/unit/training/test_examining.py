"""Many simulations are explained by several processes as by one, in order, with progress."""

from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest

from qd_agent.core.errors import Fatal
from qd_agent.inference.artifact import Artifact, read_artifact
from training import examining
from training.calibrate import Sample, draw
from training.dataset import PatternSource
from training.examining import examine


@pytest.fixture(scope="module")
def model() -> Artifact:
    return read_artifact()


@pytest.fixture(scope="module")
def sample() -> Sample:
    return draw(PatternSource(5, max_diameter_nm=4.0, foreign_patterns=4), 10, batch=10)


def test_several_processes_find_what_one_finds_in_the_same_order(model: Artifact, sample: Sample):
    alone, together = list[int](), list[int]()
    expected = examine(model, sample, alone.append)
    found = examine(model, sample, together.append, workers=2, task=4)
    assert alone == [10]
    assert together == [4, 8, 10]
    for one, other in zip(found, expected, strict=True):
        assert one.answer.diameter == pytest.approx(other.answer.diameter, abs=1e-4)
        assert np.allclose(one.fit.model, other.fit.model, atol=1e-3)
    assert len({round(one.answer.diameter, 6) for one in found}) == 10, (
        "each pattern its own answer"
    )


def test_a_process_that_is_ended_is_told_in_one_line(
    model: Artifact, sample: Sample, monkeypatch: pytest.MonkeyPatch
):
    class Ended(ProcessPoolExecutor):
        def map(self, *_: object, **__: object):
            raise BrokenProcessPool("gone")

    monkeypatch.setattr(examining, "ProcessPoolExecutor", Ended)
    with pytest.raises(Fatal, match=r"was ended \(after 0 of 10\).*fewer threads") as told:
        examine(model, sample, lambda _: None, workers=2)
    assert "\n" not in str(told.value)
