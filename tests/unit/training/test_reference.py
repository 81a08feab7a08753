"""The shipped model on real and published data (evaluation only; skips without that data)."""

from pathlib import Path

import pytest

from qd_agent.core.prediction import Verdict
from qd_agent.inference import SizerSettings, open_sizer
from qd_agent.inference.sizer import NetworkSizer
from training.evaluate import Outcome, evaluate, summary


@pytest.fixture(scope="module")
def sizer() -> NetworkSizer:
    return open_sizer(SizerSettings())


def test_published_simulations_are_sized(sizer: NetworkSizer, reference: Path):
    outcomes = evaluate(sizer, [reference / "patterns_debussy"])
    figures = summary(outcomes)["simulated"]
    assert figures["files"] == 23
    assert figures["sized"] == 23
    assert figures["right_class"] >= 20
    assert figures["mean_error_nm"] <= 0.15


def test_measured_synchrotron_patterns_are_within_a_quarter_nanometre(
    sizer: NetworkSizer, reference: Path
):
    outcomes = evaluate(sizer, sorted((reference / "patterns_measured").glob("*synchr*")))
    assert len(outcomes) == 4
    for outcome in outcomes:
        assert outcome.estimate is not None
        assert outcome.estimate.verdict is Verdict.SIZED, outcome.estimate.reason
        assert outcome.difference == pytest.approx(0.0, abs=0.25), outcome.path.name


def test_laboratory_patterns_get_a_size_near_their_label(sizer: NetworkSizer, reference: Path):
    outcomes = evaluate(sizer, sorted((reference / "patterns_measured").glob("*lab*")))
    sized = [o for o in outcomes if o.difference is not None]
    assert len(sized) >= 2
    for outcome in sized:
        assert outcome.difference == pytest.approx(0.0, abs=0.75), outcome.path.name


def no_size(outcomes: list[Outcome]) -> bool:
    return all(o.estimate is not None and o.estimate.diameter_nm is None for o in outcomes)


def test_solvents_have_no_nanocrystals(sizer: NetworkSizer, reference: Path):
    outcomes = evaluate(sizer, [reference / "solvents"], wavelength=0.564162)
    assert len(outcomes) == 2
    assert no_size(outcomes)
    for outcome in outcomes:
        assert outcome.estimate is not None
        assert outcome.estimate.verdict is Verdict.NO_NANOCRYSTALS


def test_ceria_gets_no_size(sizer: NetworkSizer, reference: Path):
    outcomes = evaluate(sizer, [reference / "frames" / "CeO2_Pilatus1M.xy"], wavelength=0.4066)
    (outcome,) = outcomes
    assert outcome.estimate is not None
    assert outcome.estimate.verdict is Verdict.OUT_OF_DOMAIN
