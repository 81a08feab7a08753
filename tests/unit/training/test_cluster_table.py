"""What batches are mixed from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.cluster_table import families, spheres, surface_pairs
from training.debye import pair_counts
from training.observation import fine_grid

Q = fine_grid()[::20]


def test_pairs_sorted_by_their_surface_atoms_add_up_to_all_pairs():
    totals = {kind: np.zeros((4, 4000)) for kind in range(3)}
    for _, kind, counts in surface_pairs(4):
        totals[kind][:, : counts.shape[1]] += counts
    for kind, unit in enumerate((1.0, 8.0, 64.0)):
        expected = pair_counts(4)[kind] / unit
        np.testing.assert_array_equal(totals[kind][3, : expected.size], expected)


def test_every_atom_of_the_smallest_cluster_lies_at_the_surface():
    for layer, _, counts in surface_pairs(1):
        assert (counts.sum() > 0) == (layer == 2)


def test_spheres_have_layers_and_other_shapes_one():
    sphere, elongated, *shapes = families(3.0, Q, 0.0112)
    assert sphere.sums.shape[1] == 3
    assert all(family.sums.shape[1] == 1 for family in (elongated, *shapes))
    assert len(shapes) == 4
    assert all((np.diff(family.diameters) > 0).all() for family in (sphere, *shapes))


def test_the_stated_average_is_that_of_the_weights():
    family = spheres(6.0, Q, 0.0112)
    weights, truth = family.weights(torch.tensor([[2.0], [3.0]]), torch.tensor([[0.1], [0.2]]))
    assert weights.sum(dim=1).tolist() == pytest.approx([1.0, 1.0], abs=1e-6)
    expected = weights.double().numpy() @ family.diameters
    assert truth.number.tolist() == pytest.approx(expected.tolist(), abs=1e-5)
    assert (truth.volume > truth.number).all()


def test_an_elongation_shows_at_high_q_first():
    sphere, elongated, *_ = families(5.0, Q, 0.0112)
    first, second = sphere.sums.sum(dim=1)[-1, 0], elongated.sums[-1, 0, 0]

    def change(where: torch.Tensor) -> float:
        return float((first - second)[where].norm() / first[where].norm())

    assert change(torch.from_numpy(Q > 10.0)) > 3.0 * change(torch.from_numpy(Q < 4.0)) > 0.0
