"""The kinetics: what is true at every moment of a synthesis."""

import numpy as np
import pytest

from simulated_beamline.errors import BeamlineError
from simulated_beamline.synthesis import Kinetics, state_at


@pytest.fixture
def course():
    return [state_at(progress, Kinetics()) for progress in np.linspace(0.0, 1.0, 200)]


def test_it_begins_with_solvent_alone(course):
    induction = [state for state in course if state.phase == "induction"]
    assert 0.10 <= len(induction) / len(course) <= 0.15
    assert all(s.diameter_nm is None and s.dispersion is None for s in induction)
    assert all(s.share == 0.0 for s in induction)


def test_the_phases_follow_each_other(course):
    phases = [state.phase for state in course]
    order = ["induction", "nucleation", "growth", "plateau"]
    assert sorted(phases, key=order.index) == phases
    assert set(phases) >= {"induction", "nucleation", "growth"}


def test_diameter_and_share_grow_and_dispersion_narrows(course):
    grown = [state for state in course if state.diameter_nm is not None]
    diameters = np.array([s.diameter_nm for s in grown])
    assert (np.diff(diameters) > 0).all()
    assert (np.diff([s.share for s in grown]) > 0).all()
    assert (np.diff([s.dispersion for s in grown]) < 0).all()
    assert diameters[0] < 2.2
    assert 5.8 < diameters[-1] < 6.0
    assert 0.0 <= grown[0].share < 0.001
    assert 0.55 < grown[-1].share <= 0.65


def test_growth_obeys_the_inverse_radius_law():
    kinetics = Kinetics()
    plateau, nucleus = kinetics.plateau_diameter_nm / 2, kinetics.nucleus_diameter_nm / 2
    k = (plateau**2 - nucleus**2) / (2 * kinetics.growth_time)
    for progress in (0.2, 0.4, 0.7):
        r, step = state_at(progress, kinetics).diameter_nm / 2, 1e-5
        ahead = state_at(progress + step, kinetics).diameter_nm / 2
        supersaturation = (plateau**2 - r**2) / (plateau**2 - nucleus**2)
        assert (ahead - r) / step == pytest.approx(k / r * supersaturation, rel=1e-3)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"plateau_diameter_nm": 1.0}, "plateau diameter"),
        ({"plateau_diameter_nm": 40.0}, "plateau diameter"),
        ({"plateau_diameter_nm": float("nan")}, "plateau diameter"),
        ({"plateau_share": 65.0}, "0.65 means 65 %"),
        ({"plateau_share": 0.0}, "share"),
    ],
)
def test_impossible_settings_are_named(settings, word):
    with pytest.raises(BeamlineError, match=word):
        Kinetics(**settings)
