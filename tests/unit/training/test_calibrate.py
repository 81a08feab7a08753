"""Calibration makes 90 % mean 90 %, in every band; figures say what was found."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from qd_agent.inference.artifact import Thresholds
from qd_agent.inference.calibration import FEATURES, Calibration, Confidence
from qd_agent.inference.combination import Marginal, Reading, combine
from qd_agent.inference.distribution import CLASSES_NM
from qd_agent.inference.domain import Evidence
from qd_agent.inference.explanation import Fit, FittedSize
from qd_agent.inference.sizer import Examined
from training.calibrate import (
    BELIEFS,
    Sample,
    choose_limits,
    is_sized,
    weigh_fits,
)
from training.scaling import scale_uncertainties, sharpen_classes
from training.validate import calibration_error, figures

COUNT = 3000
ZERO = np.zeros(4)


def sample(rng: np.random.Generator) -> Sample:
    diameter = rng.uniform(1.5, 10.5, COUNT)
    return Sample(
        intensity=np.ones((COUNT, 600), dtype=np.float32),
        coverage=np.ones((COUNT, 600), dtype=np.float32),
        diameter=diameter,
        volume=1.1 * diameter,
        dispersion=np.full(COUNT, 0.1),
        fraction=rng.uniform(0.02, 1.0, COUNT),
        kind=np.zeros(COUNT, dtype=np.int64),
        counts=np.full(COUNT, 5000.0),
        resolution=np.zeros(COUNT),
    )


def examined(truth: Sample, rng: np.random.Generator, fit_error: float) -> list[Examined]:
    """A network off by 0.3 nm that says 0.1 nm, twice as bad when faint; a fit off by as told."""
    found: list[Examined] = []
    for size, share in zip(truth.diameter, truth.fraction, strict=True):
        error = 0.3 * (2.0 if share < 0.15 else 1.0)
        mean = size + error * rng.standard_normal()
        near = size + fit_error * rng.standard_normal()
        reading = Reading(
            Marginal(mean, 0.1, mean - 0.1645, mean + 0.1645),
            Marginal(1.1 * mean, 0.1, 1.1 * mean - 0.1645, 1.1 * mean + 0.1645),
            dispersion=0.1, fraction=float(share), nothing=0.0, foreign=0.0,
        )  # fmt: skip
        fit = Fit(
            ZERO, ZERO, significance=50.0, misfit=0.02, rwp=0.0, noise=0.01,
            size=FittedSize(near, 0.1, 1.1 * near, 0.1, 0.1),
        )  # fmt: skip
        answer = combine(reading, fit, Calibration())
        evidence = Evidence(0.0, 0.0, 50.0, 0.02, mean, answer.sd, float(share))
        found.append(Examined(reading, fit, answer, evidence))
    return found


def test_intervals_cover_ninety_percent_in_every_band_of_patterns_never_seen():
    rng = np.random.default_rng(0)
    truth = sample(rng)
    found = examined(truth, rng, fit_error=9.0)
    everything = np.ones(COUNT, dtype=bool)
    calibration = scale_uncertainties(Calibration(systematic=0.0), found, truth, everything)
    other = sample(rng)
    again = examined(other, rng, fit_error=9.0)
    answers = [combine(o.reading, o.fit, calibration) for o in again]
    low, high = np.array([a.interval for a in answers]).T
    inside = (low <= other.diameter) & (other.diameter <= high)
    assert inside.mean() == pytest.approx(0.9, abs=0.02)
    for faint in (other.fraction < 0.15, other.fraction > 0.4):
        assert inside[faint].mean() == pytest.approx(0.9, abs=0.04)


def test_what_simulations_lack_is_part_of_the_ninety_percent():
    rng = np.random.default_rng(3)
    truth = sample(rng)
    found = examined(truth, rng, fit_error=9.0)
    calibration = scale_uncertainties(Calibration(), found, truth, np.ones(COUNT, dtype=bool))
    answers = [combine(o.reading, o.fit, calibration) for o in found]
    low, high = np.array([a.interval for a in answers]).T
    assert calibration.structured == pytest.approx(0.02)
    assert ((low <= truth.diameter) & (truth.diameter <= high)).mean() == pytest.approx(
        0.9, abs=0.01
    )


def test_laboratory_patterns_have_intervals_of_their_own():
    rng = np.random.default_rng(5)
    truth = sample(rng)
    short = rng.random(COUNT) < 0.3
    found = [
        replace(one, fit=replace(one.fit, reach=7.0 if s else 15.0))
        for one, s in zip(examined(truth, rng, fit_error=9.0), short, strict=True)
    ]
    everything = np.ones(COUNT, dtype=bool)
    calibration = scale_uncertainties(Calibration(), found, truth, everything)
    answers = [combine(o.reading, o.fit, calibration) for o in found]
    low, high = np.array([a.interval for a in answers]).T
    inside = (low <= truth.diameter) & (truth.diameter <= high)
    assert inside[short].mean() == pytest.approx(0.9, abs=0.04)
    assert inside[~short].mean() == pytest.approx(0.9, abs=0.02)
    assert np.mean((high - low)[short]) > np.mean((high - low)[~short])


def test_intervals_of_a_fit_that_claims_far_too_much_still_hold():
    """A fit that finds a pattern clean may claim a tenth of its error."""
    rng = np.random.default_rng(6)

    def drawn() -> tuple[Sample, list[Examined], npt.NDArray[np.bool_]]:
        truth = sample(rng)
        clean = rng.random(COUNT) < 0.25
        found = [
            replace(
                one,
                reading=replace(one.reading, diameter=_narrower(one.reading.diameter, 0.1))
                if c else one.reading,
                fit=replace(one.fit, size=replace(one.fit.size, hypothesis=0 if c else 2)),
            )
            for one, c in zip(examined(truth, rng, fit_error=9.0), clean, strict=True)
        ]  # fmt: skip
        return truth, found, clean

    truth, found, _ = drawn()
    everything = np.ones(COUNT, dtype=bool)
    calibration = scale_uncertainties(Calibration(systematic=0.0), found, truth, everything)
    other, again, clean = drawn()
    low, high = np.array([combine(o.reading, o.fit, calibration).interval for o in again]).T
    inside = (low <= other.diameter) & (other.diameter <= high)
    assert inside[clean].mean() == pytest.approx(0.9, abs=0.03)
    assert inside[~clean].mean() == pytest.approx(0.9, abs=0.03)


def _narrower(marginal: Marginal, factor: float) -> Marginal:
    mean, reach = marginal.mean, factor * (marginal.high - marginal.mean)
    return Marginal(mean, factor * marginal.sd, mean - reach, mean + reach)


def test_too_few_patterns_scale_nothing():
    rng = np.random.default_rng(7)
    truth = sample(rng)
    found = examined(truth, rng, fit_error=9.0)
    for count in (0, 50):
        some = np.arange(COUNT) < count
        calibration = scale_uncertainties(Calibration(), found, truth, some)
        assert calibration.diameter.weights == {}
        assert sharpen_classes(calibration, found, truth, some).classes > 0


def test_errors_of_nothing_at_all_are_scaled_without_a_warning():
    rng = np.random.default_rng(8)
    truth = sample(rng)
    found = examined(truth, rng, fit_error=9.0)
    exact = replace(truth, diameter=np.array([o.reading.diameter.mean for o in found]))
    calibration = scale_uncertainties(Calibration(), found, exact, np.ones(COUNT, dtype=bool))
    assert np.isfinite([calibration.diameter.weights[name] for name in FEATURES]).all()


def test_faint_patterns_are_no_surer_of_their_class_than_they_are_right():
    rng = np.random.default_rng(9)
    truth, other = sample(rng), sample(rng)
    everything = np.ones(COUNT, dtype=bool)
    found, again = (examined(drawn, rng, fit_error=9.0) for drawn in (truth, other))
    calibration = scale_uncertainties(Calibration(systematic=0.0), found, truth, everything)
    sharpened = sharpen_classes(calibration, found, truth, everything)
    told = [combine(one.reading, one.fit, sharpened).classes for one in again]
    sure, answered = np.array(told).max(axis=1), np.array(told).argmax(axis=1)
    right = answered == np.abs(other.diameter[:, None] - CLASSES_NM).argmin(axis=1)
    for some in (other.fraction < 0.15, other.fraction > 0.4):
        assert sure[some].mean() == pytest.approx(right[some].mean(), abs=0.06)


def test_classes_are_as_sure_as_they_are_right():
    rng = np.random.default_rng(4)
    truth = sample(rng)
    found = examined(truth, rng, fit_error=9.0)
    everything = np.ones(COUNT, dtype=bool)
    calibration = scale_uncertainties(Calibration(systematic=0.0), found, truth, everything)
    blurred = calibration.model_copy(update={"classes": 3.0})
    sharpened = sharpen_classes(blurred, found, truth, everything)
    other = sample(rng)
    again = examined(other, rng, fit_error=9.0)

    def error(by: Calibration) -> float:
        told = [replace(one, answer=combine(one.reading, one.fit, by)) for one in again]
        return calibration_error(told, other, everything)

    # Errors are normal here, whose tails are shorter than those of the classes.
    assert error(sharpened) < 0.03
    assert error(blurred) > 3.0 * error(sharpened)
    tails = sharpened.model_copy(update={"confidence": Confidence()})
    assert error(sharpened) < error(tails)


def test_the_better_of_network_and_fit_gets_the_say():
    rng = np.random.default_rng(1)
    truth = sample(rng)
    good = weigh_fits(Calibration(), examined(truth, rng, fit_error=0.02), truth)
    poor = weigh_fits(Calibration(), examined(truth, rng, fit_error=5.0), truth)
    assert good.fit[0] == (BELIEFS[0],) * 4
    assert min(poor.fit[0]) >= 5.0
    # Where the fit finds nothing wrong it is preferred, elsewhere the least mean error decides.
    alike = examined(truth, rng, fit_error=0.3)
    bent = [replace(o, fit=replace(o.fit, size=replace(o.fit.size, hypothesis=2))) for o in alike]
    clean, other = (weigh_fits(Calibration(), found, truth) for found in (alike, bent))
    assert all(c < o < 2.0 for c, o in zip(clean.fit[0], other.fit[2], strict=True))
    # No pattern was bent or rough: such fits have not been seen, and are not heard.
    assert min(min(row) for row in good.fit[1:]) >= 1000.0


def test_where_a_band_has_few_fits_all_shares_tell():
    rng = np.random.default_rng(5)
    truth = sample(rng)
    found = examined(truth, rng, fit_error=0.02)
    strong = [i for i, one in enumerate(found) if one.reading.fraction > 0.4][:2000]
    few = truth.take(np.isin(np.arange(COUNT), strong))
    believed = weigh_fits(Calibration(), [found[i] for i in strong], few)
    assert believed.fit[0] == (BELIEFS[0],) * 4


def test_limits_refuse_few_good_patterns_and_figures_count_them():
    rng = np.random.default_rng(2)
    truth = sample(rng)
    found = examined(truth, rng, fit_error=1.0)
    limits = choose_limits([one.evidence for one in found], truth.good)
    sized = is_sized(found, limits)
    measured = figures(found, truth, sized)
    assert measured["refused_of_good"] == pytest.approx((~sized[truth.good]).mean(), abs=1e-4)
    strata = measured["strata"]
    assert isinstance(strata, dict)
    assert strata["sized"]["patterns"] == sized.sum()
    assert choose_limits([], np.zeros(0, dtype=bool)) == Thresholds()
