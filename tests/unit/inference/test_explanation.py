"""The explaining Debye pattern, on its own."""

import numpy as np
import pytest

from qd_agent.inference.artifact import read_artifact
from qd_agent.inference.binned_debye import BINNED_Q
from qd_agent.inference.explanation import Explainer
from training.background import liquid_background
from training.materials import named


@pytest.fixture(scope="module")
def explainer() -> Explainer:
    artifact = read_artifact()
    form = (artifact.form_q, artifact.form_lead, artifact.form_sulfur)
    return Explainer(artifact.library, *form, artifact.liquids)


def counted(pattern: np.ndarray, counts: float, seed: int = 0) -> np.ndarray:
    noisy = np.random.default_rng(seed).poisson(pattern * counts) / counts
    return noisy / noisy.mean()


def mixture(explainer: Explainer, share: float, **shape: float) -> np.ndarray:
    liquid = liquid_background(BINNED_Q, np.random.default_rng(3))
    return share * explainer.nanocrystals(4.0, 0.12, **shape) + (1 - share) * liquid


ONE = np.ones_like(BINNED_Q)


@pytest.mark.parametrize("share", [0.05, 0.3, 1.0])
def test_nanocrystals_are_found_and_explained(explainer: Explainer, share: float):
    pattern = counted(mixture(explainer, share), 5000.0)
    fit = explainer.fit(pattern, ONE, 4.0, 0.12)
    assert fit.significance > 8
    assert fit.misfit < 0.3
    assert fit.model.mean() == pytest.approx(1.0, abs=0.02)
    assert (fit.background >= 0).all()


def test_strain_and_thermal_motion_are_followed(explainer: Explainer):
    pattern = counted(mixture(explainer, 1.0, scale=1.004, b_lead=1.1, b_sulfur=3.0), 20000.0)
    fit = explainer.fit(pattern, ONE, 4.0, 0.12)
    assert fit.rwp < 0.03
    assert fit.misfit < 0.05


def test_a_wrong_size_explains_worse(explainer: Explainer):
    pattern = counted(mixture(explainer, 0.8), 5000.0)
    right = explainer.fit(pattern, ONE, 4.0, 0.12)
    wrong = explainer.fit(pattern, ONE, 7.0, 0.12)
    assert wrong.rwp > 2 * right.rwp
    assert wrong.misfit > 3 * right.misfit


@pytest.mark.parametrize("truth", [2.5, 4.0, 7.0])
def test_the_size_is_found_from_a_start_ten_percent_off(explainer: Explainer, truth: float):
    clean = explainer.nanocrystals(truth, 0.12, scale=1.002)
    liquid = liquid_background(BINNED_Q, np.random.default_rng(3))
    pattern = counted(0.8 * clean + 0.2 * liquid, 8000.0)
    found = explainer.fit(pattern, ONE, 1.1 * truth, 0.18, free=True).size
    assert found is not None
    assert found.diameter == pytest.approx(truth, abs=3.5 * found.sd)
    assert found.sd < 0.05 * truth
    assert found.volume > found.diameter
    assert found.volume_sd > 0


def test_fewer_counts_and_other_structures_make_the_fit_less_sure(explainer: Explainer):
    clean = mixture(explainer, 0.6)
    sure = explainer.fit(counted(clean, 20000.0), ONE, 4.0, 0.12, free=True).size
    noisy = explainer.fit(counted(clean, 200.0), ONE, 4.0, 0.12, free=True).size
    wavy = clean * (1.0 + 0.03 * np.sin(9.0 * BINNED_Q))
    unexplained = explainer.fit(counted(wavy, 20000.0), ONE, 4.0, 0.12, free=True).size
    assert sure is not None and noisy is not None and unexplained is not None  # noqa: PT018
    assert noisy.sd > 2.0 * sure.sd
    assert unexplained.sd > 2.0 * sure.sd


def test_a_size_that_stays_is_not_reported_as_found(explainer: Explainer):
    fit = explainer.fit(counted(mixture(explainer, 0.6), 5000.0), ONE, 4.0, 0.12)
    assert fit.size is None
    assert fit.noise == pytest.approx(5000.0**-0.5, rel=0.2)


def test_a_liquid_alone_needs_no_nanocrystals(explainer: Explainer):
    liquid = counted(liquid_background(BINNED_Q, np.random.default_rng(5)), 5000.0)
    fit = explainer.fit(liquid, ONE, 4.0, 0.12)
    assert fit.significance < 8


@pytest.mark.parametrize("name", ["CeO2", "Ni", "Au", "CdSe", "PbTe"])
def test_other_materials_are_not_explained(explainer: Explainer, name: str):
    pattern = counted(named(BINNED_Q, name, 6.0, np.random.default_rng(1)), 5000.0)
    fit = explainer.fit(pattern, ONE, 6.0, 0.12)
    assert fit.misfit > 0.8 or fit.significance < 3


@pytest.mark.parametrize("value", [0.0, 1.0, 1e-30, 1e30])
def test_flat_lines_give_finite_answers(explainer: Explainer, value: float):
    fit = explainer.fit(value * ONE, ONE, 4.0, 0.12)
    assert np.isfinite(fit.model).all()
    assert np.isfinite([fit.significance, fit.misfit, fit.rwp]).all()
