"""Families of reflections."""

import numpy as np

from qd_agent.scattering.reflections import FAMILIES, family_gains, positions


def test_each_family_has_gain_one_at_its_reflections_and_none_at_others():
    q = positions()
    gains = family_gains(q)
    for row, (_, family) in enumerate(FAMILIES):
        np.testing.assert_allclose(gains[:, row], np.eye(gains.shape[0])[family])


def test_gains_end_above_the_last_reflection():
    assert not family_gains(np.array([8.0, 15.0])).any()
