"""Files go the path of live frames: same grid, same normalization, one answer each."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from qd_agent.core.pattern import AREA, PUBLISHED_GRID, Pattern
from qd_agent.core.prediction import Sized, Verdict
from qd_agent.sizing import size_files
from tests.helpers import records


class Sizer:
    def __init__(self):
        self.patterns: list[Pattern] = []

    def size(self, patterns: Sequence[Pattern]) -> list[Sized]:
        self.patterns += patterns
        return [Sized(records.sized(4.0), pattern) for pattern in patterns]


def written(path: Path, x: np.ndarray) -> Path:
    np.savetxt(path, np.column_stack([x, 10.0 + np.sin(x)]))
    return path


def test_every_file_gets_one_answer_in_order(tmp_path: Path):
    good = written(tmp_path / "a.xy", np.linspace(1.2, 14.0, 4000))
    bad = tmp_path / "b.xy"
    bad.write_text("nothing\n")
    sizer = Sizer()
    answers = list(size_files([good, bad, good], sizer, "q_A^-1", None))
    assert [a.estimate.verdict for a in answers] == [
        Verdict.SIZED,
        Verdict.BAD_FRAME,
        Verdict.SIZED,
    ]
    assert answers[1].sized is None
    assert str(bad) in answers[1].estimate.reason
    assert answers[0].record()["path"] == str(good)
    assert {"verdict", "diameter_nm", "diameter_sd_nm", "interval_nm", "diameter_volume_nm"} <= (
        answers[0].record().keys()
    )


def test_patterns_are_on_the_grid_and_normalized(tmp_path: Path):
    sizer = Sizer()
    path = written(tmp_path / "a.xy", np.linspace(0.5, 16.0, 9000))
    list(size_files([path], sizer, "q_A^-1", None))
    (pattern,) = sizer.patterns
    assert pattern.coverage.all()
    assert np.isclose(pattern.intensity.mean() * PUBLISHED_GRID.span, AREA)


def test_the_wavelength_may_stand_in_the_name_and_what_is_given_counts_first(tmp_path: Path):
    path = written(tmp_path / "dots_wl0p5A.xy", np.linspace(5.0, 60.0, 2000))
    sizer = Sizer()
    list(size_files([path], sizer, "2th_deg", None))
    list(size_files([path], sizer, "2th_deg", 1.0))
    by_name, given = (np.flatnonzero(p.coverage)[-1] for p in sizer.patterns)
    assert given < by_name, "a longer wavelength reaches less far in Q"


def test_the_resolution_goes_with_the_pattern(tmp_path: Path):
    path = written(tmp_path / "a.xy", np.linspace(1.2, 14.0, 4000))
    sizer = Sizer()
    list(size_files([path], sizer, "q_A^-1", None, 0.004))
    assert [p.resolution for p in sizer.patterns] == [0.004]
