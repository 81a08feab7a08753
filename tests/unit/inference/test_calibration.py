"""Factors on uncertainties, by what a pattern is like."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from qd_agent.inference.calibration import (
    FEATURES,
    USUAL,
    Calibration,
    Conditions,
    Confidence,
    Scaling,
)


def conditions(**values: float) -> Conditions:
    names = ("size", "share", "noise", "misfit", "surety")
    usual = dict(zip(names, USUAL, strict=True)) | {"hypothesis": 2, "reach": 15.0} | values
    which = np.array([usual.pop("hypothesis")], dtype=np.intp)
    return Conditions(**{n: np.array([value]) for n, value in usual.items()}, hypothesis=which)


def test_weights_of_features_multiply_the_factor():
    scaling = Scaling(weights={"constant": np.log(2), "share": 1.0, "clean": 0.5, "below_7.5": -1})
    assert scaling.factors(conditions())[0] == pytest.approx(2.0)
    assert scaling.factors(conditions(hypothesis=0))[0] == pytest.approx(2.0 * np.exp(0.5))
    assert scaling.factors(conditions(share=0.24))[0] == pytest.approx(2.0 * 0.25 / 0.51)
    assert scaling.factors(conditions(reach=7.0))[0] == pytest.approx(2.0 / np.e)


def test_features_are_told_by_their_names():
    table = conditions(size=5.0 * np.e, hypothesis=3, reach=11.0).features()
    told = dict(zip(FEATURES, table[0].tolist(), strict=True))
    # 13.6 nm counts as the largest that simulations told of.
    assert told.pop("size") == pytest.approx(np.log(11.5 / 5.0))
    assert told.pop("size_squared") == pytest.approx(np.log(11.5 / 5.0) ** 2)
    assert {name for name, value in told.items() if value} == {"constant", "rough", "below_12"}
    faint = dict(zip(FEATURES, conditions(share=0.1).features()[0].tolist(), strict=True))
    assert [faint[f"share_below_{edge}"] for edge in (0.05, 0.15, 0.4)] == [0.0, 1.0, 1.0]


def test_a_pattern_unlike_every_simulation_gets_a_factor_that_one_had():
    scaling = Scaling(weights={"noise": 50.0, "misfit": -50.0}, least=0.5, most=20.0)
    assert scaling.factors(conditions(noise=1e9))[0] == pytest.approx(20.0)
    assert scaling.factors(conditions(misfit=1e9))[0] == pytest.approx(0.5)


@given(st.lists(st.floats(), min_size=6, max_size=6), st.integers(0, 3))
def test_factors_are_finite_whatever_a_pattern_is_like(values: list[float], kind: int):
    names = ("size", "share", "noise", "misfit", "surety", "reach")
    given = dict(zip(names, values, strict=True))
    scaling = Scaling(weights=dict.fromkeys(FEATURES, 1.0))
    factor = scaling.factors(conditions(**given, hypothesis=kind))[0]
    assert scaling.least * 0.999 <= factor <= scaling.most * 1.001


def test_a_feature_that_does_not_exist_is_refused():
    with pytest.raises(ValidationError, match="no features of these names: colour"):
        Scaling(weights={"colour": 1.0})


def test_a_class_is_as_sure_as_the_line_says():
    confidence = Confidence(slope=2.0, weights={"constant": 0.5, "uneven": 3.0})
    assert confidence.line(conditions()) == pytest.approx((2.0, 0.5))
    assert confidence.line(conditions(hypothesis=1)) == pytest.approx((2.0, 3.5))


def test_what_simulations_lack_counts_more_in_laboratory_patterns():
    calibration = Calibration(systematic=0.03, systematic_laboratory=0.06, structured=0.1)
    assert calibration.missing(4.0, misfit=0.1, reach=15.0) == pytest.approx(0.12)
    assert calibration.missing(4.0, misfit=0.1, reach=7.1) == pytest.approx(0.24)
    assert calibration.missing(4.0, misfit=0.05, reach=7.1) == pytest.approx(0.12)
    assert calibration.missing(4.0, misfit=9.0, reach=7.1) == pytest.approx(0.24)
    assert calibration.missing(4.0, misfit=-1.0, reach=7.1) == 0.0


def test_without_calibration_nothing_changes():
    assert Scaling().factors(conditions(noise=1e9, misfit=1e9, share=0.0))[0] == 1.0


def test_a_calibration_survives_the_card():
    calibration = Calibration(
        temperature=0.9, fit=((1, 2, 3, 4),) * 4, diameter=Scaling(weights={"below_7.5": 0.1})
    )
    assert Calibration.model_validate_json(calibration.model_dump_json()) == calibration
    with pytest.raises(ValidationError):
        Calibration.model_validate({"widen": [0, 0, 0]})
