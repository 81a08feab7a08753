"""Factors on uncertainties, by what a pattern is like."""

import numpy as np
import pytest
from pydantic import ValidationError

from qd_agent.inference.calibration import Calibration, Conditions, Scaling


def conditions(**values: float) -> Conditions:
    usual = {
        "size": 4.0, "share": 0.5, "noise": 0.01, "misfit": 0.05, "hypothesis": 2, "surety": 0.03,
        "reach": 15.0,
    } | values  # fmt: skip
    which = np.array([usual.pop("hypothesis")], dtype=np.intp)
    return Conditions(**{n: np.array([value]) for n, value in usual.items()}, hypothesis=which)


def test_factors_of_the_seven_conditions_multiply():
    scaling = Scaling(
        size=(1, 2, 1, 1), share=(1, 1, 1, 3), noise=(1, 5, 1, 1), misfit=(1, 7, 1, 1),
        hypothesis=(1, 1, 11, 13), surety=(1, 1, 17, 19), reach=(23, 1, 1, 1),
    )  # fmt: skip
    assert scaling.factors(conditions())[0] == pytest.approx(2 * 3 * 5 * 7 * 11 * 17)
    assert scaling.factors(conditions(hypothesis=0))[0] == pytest.approx(2 * 3 * 5 * 7 * 17)
    assert scaling.factors(conditions(surety=0.2))[0] == pytest.approx(2 * 3 * 5 * 7 * 11 * 19)
    assert scaling.factors(conditions(size=9.0, share=0.01))[0] == pytest.approx(5 * 7 * 11 * 17)
    assert scaling.factors(conditions(reach=5.5))[0] == pytest.approx(2 * 3 * 5 * 7 * 11 * 17 * 23)


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
    calibration = Calibration(temperature=0.9, fit=((1, 2, 3, 4),) * 4)
    assert Calibration.model_validate_json(calibration.model_dump_json()) == calibration
    with pytest.raises(ValidationError):
        Calibration.model_validate({"widen": [0, 0, 0]})
