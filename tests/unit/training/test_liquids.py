"""The prior of the background holds what training draws."""

import numpy as np
import pytest

from training.dataset import PatternSource
from training.liquids import COMPONENTS, liquid_prior


@pytest.fixture(scope="module")
def source() -> PatternSource:
    return PatternSource(3, max_diameter_nm=3.0, foreign_patterns=20)


@pytest.fixture(scope="module")
def prior(source: PatternSource) -> np.ndarray:
    return liquid_prior(source, drawn=3000)


def test_other_draws_are_followed_to_a_thousandth(source, prior):
    others = source.with_seed(99).backgrounds(200)
    assert others.mean(axis=1) == pytest.approx(np.ones(200), rel=0.02)
    left = others.T - prior @ np.linalg.lstsq(prior, others.T, rcond=None)[0]
    assert np.sqrt(np.mean(left**2)) < 1e-3


def test_draws_are_likely_under_the_prior(source, prior):
    others = source.with_seed(98).backgrounds(200)
    multiples = np.linalg.lstsq(prior, others.T, rcond=None)[0]
    assert multiples.shape == (COMPONENTS, 200)
    assert np.sqrt(np.mean(multiples**2)) == pytest.approx(1.0, abs=0.35)
