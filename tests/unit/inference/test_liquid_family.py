"""Liquids of few parameters: what they are, what they do near one, and how one is found."""

import numpy as np
import pytest
import torch

from qd_agent.inference.binned_debye import BINNED_Q
from qd_agent.inference.liquid_family import CENTRES, HIGHEST, LOWEST, SPREADS, LiquidFamily, cubic
from training import augmentation
from training.cramer_rao import LIQUIDS, hydrocarbon


@pytest.fixture(scope="module")
def family() -> LiquidFamily:
    return LiquidFamily(BINNED_Q)


def test_the_usual_liquid_has_mean_one_and_lies_within_the_limits(family):
    assert family.liquid(CENTRES).mean() == pytest.approx(1.0)
    assert (LOWEST < CENTRES).all()
    assert (CENTRES < HIGHEST).all()


def test_near_a_liquid_its_columns_say_what_its_parameters_do(family):
    at = CENTRES + 0.5 * SPREADS
    offset, columns = family.around(at)
    moved = at + 0.01 * SPREADS
    multiples = np.append((moved - CENTRES) / SPREADS, np.zeros(family.smooth.shape[1]))
    change = family.liquid(moved) - family.liquid(at)
    told = offset + columns @ multiples - family.liquid(at)
    assert np.abs(told - change).max() < 0.05 * np.abs(change).max()
    assert family.moved(at, multiples, 1.0) == pytest.approx(moved)


def test_its_derivatives_are_those_of_the_liquid(family):
    rng = np.random.default_rng(4)
    at = np.clip(CENTRES + SPREADS * rng.normal(size=CENTRES.size), LOWEST, HIGHEST)
    value, slopes = family._slopes(at)
    assert value == pytest.approx(family.liquid(at))
    for step, slope in zip(np.diag(1e-5 * SPREADS), slopes.T, strict=True):
        expected = (family.liquid(at + step) - family.liquid(at - step)) / (2.0 * step.sum())
        assert np.abs(slope - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("kind", LIQUIDS)
def test_a_hydrocarbon_is_found(family, kind: str):
    wanted = hydrocarbon(BINNED_Q, kind)
    wanted = 0.8 * wanted + 0.2 * cubic(BINNED_Q)[:, 1]
    assert _left(family, wanted) < 0.004


def test_liquids_as_training_draws_them_are_found(family):
    q = torch.from_numpy(BINNED_Q)[None]
    drawn = augmentation.liquid(q, augmentation.Draw(torch.Generator().manual_seed(2), 20))
    left = [_left(family, row) for row in drawn.double().numpy()]
    assert np.median(left) < 0.004


def _left(family: LiquidFamily, wanted: np.ndarray) -> float:
    """What the linearized family leaves of a liquid, rms relative to its mean."""
    error = np.full(BINNED_Q.shape, 0.003)
    offset, columns = family.around(family.start(wanted, error))
    prior = np.eye(columns.shape[1]) * error[0] ** 2
    multiples = np.linalg.solve(columns.T @ columns + prior, columns.T @ (wanted - offset))
    return float(np.sqrt(np.mean((wanted - offset - columns @ multiples) ** 2)))
