"""The refinement believes what the training set draws."""

import math
from dataclasses import asdict

import numpy as np
import pytest

from qd_agent.inference.refinement_priors import RefinementPriors, columns
from training.dataset import Priors


def test_the_ranges_are_those_of_the_training_set():
    ours, theirs = asdict(RefinementPriors()), asdict(Priors())
    shared = set(ours) & set(theirs)
    assert len(shared) >= 8
    assert {n: ours[n] for n in shared} == {n: theirs[n] for n in shared}


def test_the_gaussians_have_the_moments_of_what_is_drawn():
    p, rng, n = RefinementPriors(), np.random.default_rng(0), 400_000
    size = 3.0
    usual = rng.random(n) < p.usual_share
    narrow = np.clip(rng.normal(*p.usual_dispersion, n), *p.dispersion)
    spread = np.where(usual, narrow, rng.uniform(*p.dispersion, n))
    scale = rng.uniform(*p.lattice_scale, n) + rng.uniform(*p.surface_strain_nm, n) / size
    wrong = (rng.random(n) < p.q_scale_share) * rng.uniform(-1, 1, n) * p.q_scale
    far = (rng.random(n) < p.wrong_distance_share) * rng.uniform(-1, 1, n) * p.wrong_distance
    minor = rng.uniform(*p.minor, n)
    split = rng.uniform(-1, 1, n) * rng.random(n) * p.split * (rng.random(n) < p.split_share)
    drawn = {
        "dispersion": spread,
        "lattice_scale": scale + wrong + far,
        "b_lead": rng.uniform(*p.b_lead, n),
        "b_sulfur": rng.uniform(*p.b_sulfur, n) + rng.random(n) * p.b_sulfur_small * 2.5 / size,
        "zero_shift": (rng.random(n) < p.zero_share) * rng.uniform(-1, 1, n) * p.zero_shift,
        "tilt": (rng.random(n) < p.tilt_share) * rng.uniform(*p.tilt, n),
    }
    found = p.gaussians(size, 0.0, free=False)
    for name, values in drawn.items():
        assert found[name].centre == pytest.approx(values.mean(), abs=0.01 * values.std()), name
        assert found[name].sd == pytest.approx(values.std(), rel=0.01), name
    strain = minor * (1 - minor) * split**2
    assert found["microstrain"].centre == 0.0
    assert found["microstrain"].sd == pytest.approx(math.sqrt(np.mean(strain**2)), rel=0.03)


def test_the_resolution_is_held_where_it_is_known_to_be():
    sharp, wide = (
        RefinementPriors().gaussians(4.0, resolution, free=False)["broadening"]
        for resolution in (0.0, 0.01)
    )
    assert (sharp.centre, sharp.sd) == (0.0, 1e-6)
    assert wide.centre == pytest.approx(1e-4)
    assert wide.sd == pytest.approx(
        0.2e-4, rel=0.01
    )  # the sd to a tenth, so the variance to a fifth


def test_free_keeps_the_limits_and_drops_the_preference():
    priors = RefinementPriors().gaussians(4.0, 0.0, free=True)
    _, precision, low, high = columns({n: priors[n] for n in ("dispersion", "b_lead", "b_sulfur")})
    assert not precision.any()
    assert np.isfinite(low).all()
    assert np.isfinite(high).all()
