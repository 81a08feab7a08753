"""Two opposite sectors: where their rings lie apart, by how much, and how sure that is."""

from __future__ import annotations

import numpy as np
import pytest

from qd_agent.reduction.opposite import Opposite, Sector

Q = 0.99 + 0.0028 * np.arange(2500)
PLACES = (1.83, 2.12, 2.99, 3.51, 3.67, 4.23, 4.61, 4.73, 5.18, 5.5, 5.99)


def sector(shift: float, mean: float, seed: int, spread: float = 0.048) -> Sector:
    """Count one sector whose rings lie farther out by `shift`, 1/Å; 40 pixels a bin."""
    rate = 1.0 + sum(np.exp(-0.5 * ((Q - shift - place) / spread) ** 2) for place in PLACES)
    counts = np.random.default_rng(seed).poisson(40 * mean * rate).astype(float)
    return counts, counts.copy(), np.full(Q.size, 40.0)


@pytest.mark.parametrize("mean", [1.0, 100.0])
@pytest.mark.parametrize("half", [0.0, 0.004])
def test_the_error_is_that_of_the_noise(mean: float, half: float):
    compared = Opposite(Q)
    pulls: list[float] = []
    for seed in range(40):
        found = compared.apart(sector(half, mean, seed), sector(-half, mean, 1000 + seed))
        assert found is not None
        pulls.append((found.half - half) / found.error)
    assert 0.6 < np.std(pulls) < 1.3
    assert abs(np.mean(pulls)) < 0.7


@pytest.mark.parametrize("half", [-0.3, -0.06, 0.015, 0.1, 0.25])
@pytest.mark.parametrize("spread", [0.024, 0.048, 0.08])
def test_rings_far_apart_are_found_as_well(half: float, spread: float):
    one, other = sector(half, 20.0, 1, spread), sector(-half, 20.0, 2, spread)
    found = Opposite(Q).apart(one, other)
    assert found is not None
    assert found.half == pytest.approx(half, abs=5 * found.error + 1e-4)
    assert found.misfit < 2.0


def test_what_only_one_sector_covers_does_not_count():
    compared, one, other = Opposite(Q), sector(0.01, 50.0, 1), sector(-0.01, 50.0, 2)
    whole = compared.apart(one, other)
    assert whole is not None
    signal, variance, norm = one
    cut = norm * (Q < 4.2)
    half = compared.apart((signal, variance, cut), other)
    assert half is not None
    assert half.half == pytest.approx(0.01, abs=5 * half.error)
    assert compared.apart((signal, variance, norm * (Q < 3.5)), other) is None
    assert compared.apart((signal, variance, 0 * norm), other) is None


def test_nothing_counted_or_more_dark_than_signal_says_nothing():
    compared, empty = Opposite(Q), np.zeros(Q.size)
    norm = np.full(Q.size, 40.0)
    assert compared.apart((empty, empty, norm), (empty, empty, norm)) is None
    negative = (-norm, norm, norm)
    assert compared.apart(negative, negative) is None
