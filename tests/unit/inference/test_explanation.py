"""The explaining Debye pattern, on its own."""

import numpy as np
import pytest

from qd_agent.inference.artifact import read_artifact
from qd_agent.inference.explanation import BINNED_Q, Explainer
from training.background import liquid_background
from training.materials import named


@pytest.fixture(scope="module")
def explainer() -> Explainer:
    artifact = read_artifact()
    return Explainer(artifact.library, artifact.form_q, artifact.form_lead, artifact.form_sulfur)


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
