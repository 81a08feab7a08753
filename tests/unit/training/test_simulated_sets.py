"""Simulated test sets: what is in them."""

import numpy as np
import pytest
import torch

from qd_agent.inference.network import bin_patterns
from training.cramer_rao import PhysicalLimit
from training.debye import build_library
from training.simulated_sets import (
    BANDS,
    CENTRES_NM,
    COUNTS,
    SHARES,
    class_centres,
    continuous,
    from_priors,
    unbinned,
)


@pytest.fixture(scope="module")
def limit() -> PhysicalLimit:
    return PhysicalLimit(build_library(13.0))


def test_class_centres_are_met_exactly_over_the_grid(limit: PhysicalLimit):
    examples = list(class_centres(limit, 34, seed=1))
    assert [e.diameter_nm for e in examples] == pytest.approx([*CENTRES_NM, *CENTRES_NM])
    assert all(0.05 <= e.dispersion <= 0.20 and e.share >= 0.15 for e in examples)
    assert all(
        e.pattern.intensity.mean() == pytest.approx(1000 / (5004 * 0.0028)) for e in examples
    )


def test_the_continuous_set_has_every_band_with_its_bound(limit: PhysicalLimit):
    examples = list(continuous(limit, 1, seed=2))
    assert len(examples) == BANDS == 80
    assert {(e.share, e.counts) for e in examples} == {(s, c) for s in SHARES for c in COUNTS}
    assert all(e.bound_nm is not None and 0 < e.bound_nm < 3 for e in examples)
    assert all(2.0 <= e.diameter_nm <= 10.0 and 0.03 <= e.dispersion <= 0.3 for e in examples)


def test_one_seed_is_one_set(limit: PhysicalLimit):
    first, again, other = (list(class_centres(limit, 3, seed=s)) for s in (5, 5, 6))
    for one, same in zip(first, again, strict=True):
        assert np.array_equal(one.pattern.intensity, same.pattern.intensity)
    assert not np.array_equal(first[0].pattern.intensity, other[0].pattern.intensity)


def test_noise_is_that_of_the_counts(limit: PhysicalLimit):
    example = next(e for e in continuous(limit, 1, seed=3) if e.counts == 214.0)
    y = example.pattern.intensity / example.pattern.intensity.mean() * 214.0
    noise = np.diff(y, 2) / np.sqrt(6.0 * np.maximum(y[1:-1], 20.0))
    assert noise.std() == pytest.approx(1.0, rel=0.1)


class Source:
    """Stands in for the training's source of patterns."""

    def batch(self, size: int) -> object:
        class Batch:
            intensity = torch.full((size, 1251), 1.0)
            coverage = (torch.arange(1251) > 100).float().repeat(size, 1)
            diameter = torch.full((size,), 4.0)
            volume = torch.full((size,), 4.2)
            dispersion = torch.full((size,), 0.1)
            fraction = torch.tensor([1.0, 0.01, 0.5, 0.5])[:size]
            kind = torch.tensor([0, 0, 1, 2])[:size]
            counts = torch.full((size,), 1000.0)
            resolution = torch.full((size,), 0.003)

        return Batch()


def test_draws_from_the_priors_tell_good_patterns_from_hopeless_ones():
    examples = list(from_priors(Source(), 4))  # type: ignore[arg-type]
    assert [e.good for e in examples] == [True, False, False, False]
    assert [e.kind for e in examples] == ["nanocrystals", "nanocrystals", "nothing", "foreign"]
    assert all(e.bound_nm is None for e in examples)
    assert [e.pattern.resolution for e in examples] == pytest.approx([0.003] * 4)


def test_unbinned_patterns_bin_to_the_same():
    rng = np.random.default_rng(0)
    coverage = (rng.random(1251) > 0.3).astype(float)
    intensity = rng.random(1251) * coverage
    intensity /= intensity.sum() / coverage.sum()
    pattern = unbinned(intensity, coverage)
    back, covered = bin_patterns(pattern.intensity[None], pattern.coverage[None])
    assert covered[0] == pytest.approx(coverage)
    assert back[0] == pytest.approx(intensity, rel=1e-5)
