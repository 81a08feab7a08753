"""Network and fit as one answer."""

from dataclasses import replace

import numpy as np
import pytest

from qd_agent.inference.calibration import Calibration, Confidence, Scaling
from qd_agent.inference.combination import Marginal, Reading, combine, weigh
from qd_agent.inference.explanation import Fit, FittedSize

ZERO = np.zeros(1251)
ALL, NONE = (1.0, 1.0, 1.0, 1.0), (1e3, 1e3, 1e3, 1e3)
TRUSTED = Calibration(fit=(ALL, ALL, ALL, ALL), volume_fit=(ALL, ALL, ALL, ALL))
ROUGH_UNHEARD = Calibration(fit=(ALL, ALL, ALL, NONE), volume_fit=(ALL, ALL, ALL, NONE))
EXPLAINED = 0.0


def marginal(mean: float, sd: float) -> Marginal:
    return Marginal(mean, sd, mean - 1.645 * sd, mean + 1.645 * sd)


def reading(mean: float = 4.0, sd: float = 0.2) -> Reading:
    return Reading(
        diameter=marginal(mean, sd), volume=marginal(1.1 * mean, sd), dispersion=0.12,
        fraction=0.6, nothing=0.0, foreign=0.0,
    )  # fmt: skip


def fit(diameter: float, sd: float) -> Fit:
    size = FittedSize(diameter, sd, 1.1 * diameter, sd, 0.2)
    return Fit(ZERO, ZERO, significance=50.0, misfit=EXPLAINED, rwp=0.01, noise=0.01, size=size)


def test_the_surer_of_the_two_has_more_say():
    sure, unsure = (combine(reading(), fit(4.4, sd), TRUSTED) for sd in (0.02, 2.0))
    assert sure.diameter == pytest.approx(4.4, abs=0.01)
    assert unsure.diameter == pytest.approx(4.0, abs=0.01)
    assert sure.sd < 0.06
    assert 0.2 <= unsure.sd < 0.23
    assert sure.dispersion > unsure.dispersion


def test_disagreement_widens_and_agreement_does_not_narrow_below_the_two():
    agree, weight = weigh(marginal(4.0, 0.2), 4.0, 0.2)
    apart, _ = weigh(marginal(4.0, 0.2), 5.0, 0.2)
    assert weight == pytest.approx(0.5)
    assert agree.sd == pytest.approx(0.2)
    assert apart.sd > 0.5
    assert apart.low < 4.0
    assert apart.high > 5.0


def test_a_fit_is_believed_by_what_the_pattern_is_like():
    clean = fit(4.4, 0.02)
    assert clean.size is not None
    rough = replace(clean, size=replace(clean.size, hypothesis=3))
    for found, expected in ((clean, 4.4), (rough, 4.0)):
        answer = combine(reading(), found, ROUGH_UNHEARD)
        assert answer.diameter == pytest.approx(expected, abs=0.01)
    assert combine(reading(), rough, TRUSTED).diameter == pytest.approx(4.4, abs=0.01)


def test_an_uncertainty_is_scaled_by_what_the_fit_found_most_likely():
    by_kind = TRUSTED.model_copy(update={"diameter": Scaling(weights={"rough": np.log(3.0)})})
    clean = fit(4.0, 5.0)
    assert clean.size is not None
    rough = replace(clean, size=replace(clean.size, hypothesis=3))
    for other in (rough, replace(clean, size=None)):
        wide, usual = (combine(reading(), other, c).sd for c in (by_kind, TRUSTED))
        assert wide == pytest.approx(3.0 * usual)
    assert combine(reading(), clean, by_kind) == combine(reading(), clean, TRUSTED)


def test_a_fit_without_a_say_leaves_the_networks_answer():
    answer = combine(reading(), fit(6.0, 0.01), Calibration())
    assert answer.diameter == pytest.approx(4.0, abs=1e-2)
    alone = combine(reading(), replace(fit(6.0, 0.01), size=None), TRUSTED)
    assert (alone.diameter, alone.dispersion) == pytest.approx((4.0, 0.12))


def test_the_calibration_stretches_interval_sd_and_classes_alike():
    wide = TRUSTED.model_copy(update={"diameter": Scaling(weights={"constant": np.log(2.0)})})
    narrow = combine(reading(), fit(4.0, 5.0), TRUSTED)
    stretched = combine(reading(), fit(4.0, 5.0), wide)
    assert stretched.sd == pytest.approx(2 * narrow.sd)
    assert np.ptp(stretched.interval) == pytest.approx(2 * np.ptp(narrow.interval))
    assert max(stretched.classes) < max(narrow.classes)
    assert sum(stretched.classes) == pytest.approx(1.0)


def test_what_the_simulations_lack_counts_where_the_misfit_shows_it():
    def answer(misfit: float) -> tuple[float, float]:
        found = combine(reading(), replace(fit(4.0, 5.0), misfit=misfit), TRUSTED)
        return found.sd, float(np.ptp(found.interval))

    explained, half, unexplained, absurd = (answer(m) for m in (0.0, 0.03, 0.06, 50.0))
    assert unexplained[0] == pytest.approx(np.hypot(explained[0], 0.03 * 4.0), rel=0.01)
    assert explained[0] < half[0] < unexplained[0]
    assert unexplained[1] == pytest.approx(np.hypot(explained[1], 2 * 1.645 * 0.12), rel=0.01)
    assert absurd == pytest.approx(unexplained)


def test_a_class_is_no_surer_than_the_interval():
    explained, unexplained = (
        combine(reading(), replace(fit(4.0, 5.0), misfit=m), TRUSTED).classes for m in (0.0, 50.0)
    )
    assert max(unexplained) < max(explained)
    doubted = TRUSTED.model_copy(update={"confidence": Confidence(weights={"constant": -1.0})})
    assert max(combine(reading(), fit(4.0, 5.0), doubted).classes) < max(explained)


def test_classes_follow_the_answer_not_the_network():
    answer = combine(reading(4.0), fit(5.0, 0.01), TRUSTED)
    assert np.argmax(answer.classes) == 6  # 5.0 nm


def test_the_volume_weighted_average_is_never_the_smaller():
    odd = replace(reading(4.0, 0.2), volume=marginal(3.0, 0.2))
    answer = combine(odd, replace(fit(4.0, 9.0), size=None), TRUSTED)
    assert answer.volume >= answer.diameter


def test_a_certain_network_divides_by_nothing():
    certain = replace(reading(), diameter=Marginal(4.0, 0.0, 4.0, 4.0))
    answer = combine(certain, fit(4.0, 0.0), TRUSTED)
    assert np.isfinite([answer.diameter, answer.sd, *answer.interval, *answer.classes]).all()


def test_a_widening_that_may_not_be_there_lengthens_intervals_downwards():
    plain = combine(reading(), fit(4.0, 0.05), TRUSTED)
    blurred = combine(reading(), fit(4.0, 0.05), TRUSTED, blur=0.01)
    assert blurred.diameter == plain.diameter
    assert blurred.interval[1] == plain.interval[1]
    assert blurred.interval_volume[1] == plain.interval_volume[1]
    # A peak of 4 nm has a standard deviation of 0.06 1/Å: 2.8 % of the variance is in question.
    assert plain.interval[0] - blurred.interval[0] == pytest.approx(
        1.1 * 0.5 * 0.028 * 4.0, rel=0.1
    )
