"""`size --refine`: who is refined, who is not, and what is said about it."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from qd_agent.core.errors import Mistake
from qd_agent.core.pattern import PUBLISHED_GRID, Pattern, normalize_area
from qd_agent.core.prediction import Estimate, Sized, Verdict
from qd_agent.figures import draw_refinements
from qd_agent.inference.artifact import read_artifact
from qd_agent.inference.refinement import Refiner
from qd_agent.inference.settings import SizerSettings
from qd_agent.refining import RefineRequest, read_solvent, refine_answer, refined_lines
from qd_agent.scattering.form_factors import f0
from qd_agent.sizing import FileAnswer
from tests.helpers import records
from training.debye import build_library
from training.simulation import NanocrystalSimulator

Q = PUBLISHED_GRID.values()
REFUSED = Estimate(verdict=Verdict.OUT_OF_DOMAIN, reason="this is no PbS")


@pytest.fixture(scope="module")
def refiner() -> Refiner:
    q = np.arange(0.8, 15.5, 0.01)
    form = {"form_q": q, "form_lead": f0("Pb", q), "form_sulfur": f0("S", q)}
    liquids = read_artifact(SizerSettings().model).liquids
    return Refiner(SimpleNamespace(library=build_library(8.0), liquids=liquids, **form))


@pytest.fixture(scope="module")
def pattern() -> Pattern:
    ideal = NanocrystalSimulator(Q, 0.5642, 8.0).intensity(4.0, 0.12)
    counts = np.random.default_rng(0).poisson(300.0 * ideal).astype(np.float64)
    return normalize_area(Pattern(counts, np.zeros_like(Q), np.ones_like(Q)))


def answer(estimate: Estimate, pattern: Pattern) -> FileAnswer:
    return FileAnswer(Path("a.xy"), estimate, Sized(estimate, pattern), 0.5642)


def test_a_sized_pattern_is_refined_and_drawn(refiner: Refiner, pattern: Pattern, tmp_path: Path):
    refined = refine_answer(refiner, answer(records.sized(4.1), pattern), RefineRequest(), None)
    assert refined.refinement is not None
    assert abs(refined.refinement.number.value - 4.0) < 0.1
    text = "\n".join(refined_lines(refined))
    for word in ("refined:", "volume-weighted", "B(Pb)", "Rwp", "Rexp", "missed", "correlation"):
        assert word in text
    assert "network minus refinement +0." in text
    record = json.loads(json.dumps(refined.record(), allow_nan=False))
    assert record["refinement"]["starts"] == 3
    draw_refinements([("a.xy", "numbers", refined.refinement)], tmp_path / "f.png")
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")


def test_a_refused_pattern_stays_refused_with_the_same_sentence(refiner: Refiner, pattern: Pattern):
    refined = refine_answer(refiner, answer(REFUSED, pattern), RefineRequest(), None)
    assert refined.refinement is None
    assert refined.reason == "this is no PbS"
    assert refined_lines(refined) == []
    assert not refined.failed


def test_a_given_start_refines_what_the_sizer_refused(refiner: Refiner, pattern: Pattern):
    refined = refine_answer(refiner, answer(REFUSED, pattern), RefineRequest(start_nm=4.2), None)
    assert refined.refinement is not None
    assert abs(refined.refinement.number.value - 4.0) < 0.1


def test_a_refinement_that_fails_says_why_in_one_line(refiner: Refiner, pattern: Pattern):
    flat = Pattern(np.ones_like(Q), np.zeros_like(Q), np.ones_like(Q))
    refined = refine_answer(refiner, answer(REFUSED, flat), RefineRequest(start_nm=4.0), None)
    assert refined.failed
    (line,) = refined_lines(refined)
    assert line.startswith("not refined: the pattern is flat")


def test_a_solvent_that_cannot_be_read_is_the_users_mistake(tmp_path: Path):
    with pytest.raises(Mistake, match="the solvent cannot be used"):
        read_solvent(tmp_path / "none.xy", "q_A^-1", None)


@pytest.mark.parametrize("option", [["--free"], ["--start", "4"], ["--solvent", "s.xy"]])
def test_options_of_a_refinement_need_one(option: list[str]):
    command = [sys.executable, "-m", "qd_agent", "size", "a.xy", *option]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "belong to --refine" in done.stderr
    assert "Traceback" not in done.stderr
