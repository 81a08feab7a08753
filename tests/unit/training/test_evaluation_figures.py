"""Figures of a set of answers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qd_agent.core.prediction import Estimate, Verdict
from training.evaluation_figures import (
    CLASSES_NM,
    Scored,
    by_band,
    by_group,
    calibration_error,
    figures,
    nearest_class,
)


def sized(diameter: float, half: float = 0.2, confidence: float = 0.9) -> Estimate:
    chosen = nearest_class(diameter)
    rest = (1.0 - confidence) / (CLASSES_NM.size - 1)
    return Estimate(
        verdict=Verdict.SIZED,
        diameter_nm=diameter,
        diameter_sd_nm=half / 1.6449,
        interval_nm=(diameter - half, diameter + half),
        diameter_volume_nm=1.1 * diameter,
        class_nm=chosen,
        class_probabilities=tuple(confidence if c == chosen else rest for c in CLASSES_NM),
    )


REFUSED = Estimate(verdict=Verdict.OUT_OF_DOMAIN, reason="not PbS")


def test_every_figure_of_a_small_set():
    scored = [
        Scored("a", "x", 4.0, 4.4, estimate=sized(4.1), bound_nm=0.1),
        Scored("b", "x", 5.0, 5.5, estimate=sized(4.7), bound_nm=0.1),
        Scored("c", "x", 6.0, estimate=REFUSED, bound_nm=0.1),
        Scored("d", "y"),
    ]
    f = figures(scored)
    assert (f["patterns"], f["sized"]) == (4, 2)
    assert f["mean_error_nm"] == pytest.approx(0.2)
    assert f["bias_nm"] == pytest.approx(-0.1)
    assert f["rmse_nm"] == pytest.approx(np.sqrt(0.05), abs=1e-4)
    assert f["largest_error_nm"] == pytest.approx(0.3)
    assert (f["right_class"], f["in_interval"], f["within_quarter_nm"]) == (1, 1, 1)
    assert f["rmse_over_bound"] == pytest.approx(np.sqrt(5.0), abs=1e-3)
    assert f["volume_average_mean_error_nm"] == pytest.approx((0.11 + 0.33) / 2)
    assert set(by_group(scored)) == {"x", "y"}
    assert by_group(scored)["y"] == {"patterns": 1, "sized": 0}


def test_a_label_decides_the_class_and_the_exact_average_the_error():
    s = Scored("a", truth_nm=2.41, label_nm=2.5, estimate=sized(2.4))
    assert s.true_class_nm == 2.5
    assert s.error_nm == pytest.approx(-0.01)


def test_bands_hold_every_pattern_once_and_round_kindly():
    sizes = [1.0, 2.0 - 1e-9, 3.0, 9.9, 12.0]
    scored = [Scored(str(d), truth_nm=d, share=1.0, estimate=sized(d)) for d in sizes]
    tables = by_band(scored)
    assert sum(int(f["patterns"]) for f in tables["diameter (nm)"].values()) == len(sizes)
    assert tables["diameter (nm)"]["2–3"]["patterns"] == 1
    assert list(tables["nanocrystal share"]) == ["0.65–1"]
    assert "dispersion" not in tables


def test_calibration_error_of_known_cases():
    right = np.array([True] * 8 + [False] * 2)
    assert calibration_error(np.full(10, 0.8), right) == pytest.approx(0.0)
    assert calibration_error(np.full(10, 0.95), right) == pytest.approx(0.15)
    assert calibration_error(np.zeros(0), np.zeros(0, dtype=bool)) == 0.0


@given(st.lists(st.tuples(st.floats(0.0, 1.0), st.booleans()), min_size=1, max_size=50))
def test_calibration_error_stays_between_zero_and_one(rows: list[tuple[float, bool]]):
    confidence, right = zip(*rows, strict=True)
    assert 0.0 <= calibration_error(np.array(confidence), np.array(right)) <= 1.0


@given(st.floats(0.0, 30.0))
def test_sizes_beyond_the_classes_go_to_the_outermost(diameter: float):
    chosen = nearest_class(diameter)
    assert chosen in CLASSES_NM
    inside = float(np.clip(diameter, 2.0, 10.0))
    assert abs(chosen - inside) <= 0.25
