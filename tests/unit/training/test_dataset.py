"""Simulated batches: seeded, sane, and as the priors say."""

import numpy as np
import pytest
import torch

from training import augmentation
from training.augmentation import Draw
from training.dataset import Batch, PatternSource


@pytest.fixture(scope="module")
def batch() -> Batch:
    return PatternSource(3, max_diameter_nm=14.0, foreign_patterns=8).batch(300)


def test_patterns_are_finite_normalized_and_zero_where_not_covered(batch: Batch):
    assert torch.isfinite(batch.intensity).all()
    mean = (batch.intensity * batch.coverage).sum(1) / batch.coverage.sum(1)
    torch.testing.assert_close(mean, torch.ones(300), atol=1e-3, rtol=0)
    assert (batch.intensity[batch.coverage == 0] == 0).all()


def test_single_patterns_can_be_drawn_whatever_happens_to_them():
    source = PatternSource(0, max_diameter_nm=3.0, foreign_patterns=4)
    assert all(torch.isfinite(source.batch(1).intensity).all() for _ in range(40))


def test_all_kinds_and_the_whole_range_of_sizes_appear(batch: Batch):
    kinds = torch.bincount(batch.kind, minlength=3) / 300
    assert kinds[0] > 0.7
    assert (kinds[1:] > 0.02).all()
    assert batch.diameter.min() < 2.5
    assert batch.diameter.max() > 9.0
    assert (batch.volume >= batch.diameter - 1e-4).all()
    assert (batch.fraction[batch.kind == 1] == 0).all()
    shares = batch.fraction[batch.kind == 0]
    assert shares.min() < 0.05
    assert shares.max() == 1.0


def test_one_seed_gives_one_sequence_and_a_state_goes_on_from_there():
    def source(seed: int) -> PatternSource:
        return PatternSource(seed, max_diameter_nm=3.0, foreign_patterns=4)

    first, second = source(5), source(5)
    torch.testing.assert_close(first.batch(4).intensity, second.batch(4).intensity)
    state = first.state
    expected = first.batch(4).intensity
    assert not torch.equal(expected, second.batch(5).intensity[:4])
    second.restore(state)
    torch.testing.assert_close(second.batch(4).intensity, expected)
    assert not torch.equal(source(6).batch(4).intensity, source(5).batch(4).intensity)


def test_a_pure_pattern_equals_the_simulator_at_the_same_truth():
    """The batch engine against the exact one: same ensemble, no nuisance but form factors."""
    from qd_agent.scattering.form_factors import lead_sulfide
    from qd_agent.scattering.forward import intensity, partial_sums
    from training.cluster_table import spheres
    from training.debye import build_library
    from training.observation import fine_grid

    library, q = build_library(5.0), fine_grid()
    table = spheres(5.0, q, 0.0112).sums.sum(dim=1).numpy()
    exact = partial_sums(library, q)
    # The table is averaged over a bin of 0.0112 1/Å, the exact one is not.
    np.testing.assert_allclose(table[:, 0], exact.lead_lead, atol=0.02 * exact.lead_lead.max())
    assert intensity(exact, lead_sulfide(q, 0.5), q).min() > 0


def test_counting_noise_has_the_variance_of_counts():
    q = torch.linspace(1.0, 15.0, 1251)
    draw = Draw(torch.Generator().manual_seed(0), 400)
    flat = torch.ones(400, 1251)
    noisy = augmentation.counting_noise(flat, q, draw, torch.full((400, 1), 100.0))
    assert noisy.mean() == pytest.approx(1.0, abs=0.01)
    per_pattern = noisy.var(dim=1).median()
    assert per_pattern == pytest.approx(1 / 100.0, rel=0.3)


def test_windows_leave_enough_to_size():
    q = torch.linspace(0.99, 15.0, 1251)
    coverage, instrument = augmentation.window(q, Draw(torch.Generator().manual_seed(0), 500))
    assert set(instrument.unique().tolist()) == {0, 1, 2}
    assert (coverage.sum(dim=1) * 0.0112 > 1.5).all()
    assert (coverage.mean(dim=1) == 1.0).float().mean() > 0.2


def test_texture_keeps_most_patterns_as_they_are():
    q = torch.linspace(0.99, 15.0, 1251)
    gain = augmentation.texture(q, Draw(torch.Generator().manual_seed(0), 500))
    untouched = (gain == 1).all(dim=1).float().mean()
    assert untouched == pytest.approx(0.8, abs=0.06)
    torch.testing.assert_close(gain[:, q > 8], torch.ones_like(gain[:, q > 8]))
