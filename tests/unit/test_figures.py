"""Figures are drawn from real answers, and say in one line when they cannot be."""

from pathlib import Path

import numpy as np
import pytest

from qd_agent.core.errors import Fatal
from qd_agent.core.pattern import Pattern
from qd_agent.core.prediction import Estimate, Explanation, Sized, Verdict
from qd_agent.figures import Moment, draw_growth, draw_patterns, headline
from tests.helpers import records

SOLVENT = Estimate(verdict=Verdict.NO_NANOCRYSTALS, reason="only a smooth background")


def pattern() -> Pattern:
    coverage = np.ones(5004)
    coverage[:500] = 0.0
    return Pattern(np.linspace(2, 1, 5004), np.zeros(5004), coverage)


def is_png(path: Path) -> bool:
    return path.read_bytes().startswith(b"\x89PNG")


def test_patterns_are_drawn_with_and_without_an_explanation(tmp_path: Path):
    explained = Explanation(np.ones(5004), np.zeros(5004))
    answers = [
        ("a.xy", Sized(records.sized(), pattern(), explained)),
        ("b.xy", Sized(SOLVENT, pattern())),
    ]
    draw_patterns(answers, tmp_path / "p.png")
    assert is_png(tmp_path / "p.png")


@pytest.mark.parametrize("count", [0, 1, 5])
def test_growth_is_drawn_however_many_frames_have_a_size(tmp_path: Path, count: int):
    moments = [Moment(float(i), records.sized(3.0 + i), 3.1 + i) for i in range(count)]
    moments.append(Moment(9.0, SOLVENT, None))
    draw_growth(moments, "title", tmp_path / "g.png")
    assert is_png(tmp_path / "g.png")


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path):
    with pytest.raises(Fatal, match="cannot be written"):
        draw_growth([], "title", tmp_path / "absent" / "g.png")
    with pytest.raises(Fatal, match="cannot be written"):
        draw_growth([], "title", tmp_path / "g.unknown")


def test_the_headline_gives_a_size_only_when_there_is_one():
    assert headline(records.sized(4.0)).startswith("4.00 nm (90 %: 3.80 to 4.20)")
    assert headline(SOLVENT) == "no_nanocrystals: only a smooth background"
