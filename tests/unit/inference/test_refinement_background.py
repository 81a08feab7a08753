"""The background of a refinement is any liquid of the model's prior, or a measured solvent."""

import numpy as np

from qd_agent.core.pattern import PUBLISHED_GRID
from qd_agent.inference.binned_debye import BINNED_Q
from qd_agent.inference.refinement_background import beside_solvent, liquids

Q = PUBLISHED_GRID.values()


def test_columns_on_the_bins_are_read_at_the_points():
    prior = np.column_stack([np.exp(-0.5 * ((BINNED_Q - 2.0) / 0.3) ** 2), np.ones_like(BINNED_Q)])
    background = liquids(Q, prior, 2.5)
    assert background.columns.shape == (Q.size, 2)
    expected = 2.5 * np.exp(-0.5 * ((Q - 2.0) / 0.3) ** 2)
    assert np.abs(background.columns[:, 0] - expected).max() < 1e-5
    assert (background.precision == 1.0).all()
    assert np.isneginf(background.low).all()


def test_beside_a_solvent_nothing_is_negative_and_only_pieces_in_the_window_are_there():
    window = Q[Q < 5.2]
    solvent = 1.0 + 0.0 * window
    background = beside_solvent(window, solvent)
    assert background.names[-1] == "solvent"
    assert len(background.names) < len(beside_solvent(Q, np.ones_like(Q)).names)
    assert (background.low == 0.0).all()
    assert background.columns.shape == (window.size, len(background.names))
