"""Patterns on the network's bins against the Debye equation on every point of the grid."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import map_coordinates, spline_filter1d

from qd_agent.core.pattern import PUBLISHED_GRID
from qd_agent.inference.artifact import Artifact, read_artifact
from qd_agent.inference.binned_debye import (
    LEAD_ANOMALOUS,
    SULFUR_ANOMALOUS,
    BinnedDebye,
    Dots,
    _cubic,
    _telling,
)
from qd_agent.inference.network import BIN
from qd_agent.scattering.ensemble import lognormal_weights
from qd_agent.scattering.form_factors import FormFactors
from qd_agent.scattering.forward import intensity, partial_sums

LARGE = Dots(9.0, 0.05, 1.004, 1.32, 1.49)


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return read_artifact()


@pytest.fixture(scope="module")
def debye(artifact: Artifact) -> BinnedDebye:
    return BinnedDebye(artifact.library, artifact.form_q, artifact.form_lead, artifact.form_sulfur)


def test_a_bin_is_the_mean_of_its_points_and_strain_leaves_form_factors_alone(artifact, debye):
    q = PUBLISHED_GRID.values()
    lead, sulfur = (np.interp(q, artifact.form_q, f)
                    for f in (artifact.form_lead, artifact.form_sulfur))  # fmt: skip
    form = FormFactors(lead, sulfur, LEAD_ANOMALOUS, SULFUR_ANOMALOUS)
    weights = lognormal_weights(artifact.library.diameters, LARGE.size, LARGE.dispersion)
    sums = partial_sums(artifact.library, q, LARGE.scale).mixed(weights)
    points = intensity(sums, form, q, LARGE.b_lead, LARGE.b_sulfur)
    bins = points.reshape(-1, BIN).mean(axis=1)
    apart = debye.pattern(LARGE) - bins / bins.mean()
    assert np.abs(apart).max() < 0.01  # of a peak of 16
    assert np.sqrt(np.mean(apart**2)) < 1e-3


@pytest.mark.parametrize("name", ["size", "dispersion", "scale", "b_lead", "b_sulfur"])
def test_derivatives_of_a_narrow_ensemble_between_two_clusters(debye, name: str):
    narrow = Dots(2.45, 0.04, 1.002, 1.3, 1.5)
    step = 1e-4 * getattr(narrow, name)
    ends = [
        debye.pattern(replace(narrow, **{name: getattr(narrow, name) + s})) for s in (step, -step)
    ]
    expected = (ends[0] - ends[1]) / (2.0 * step)
    _, columns = debye.derivatives(narrow)
    apart = np.abs(columns[name] - expected)
    assert apart.max() < 0.12 * np.abs(expected).max()


@pytest.mark.parametrize("name", ["b_lead", "b_sulfur"])
@pytest.mark.parametrize("dots", [LARGE, Dots(4.0, 0.12, 0.997, 0.8, 3.0, 0.015)])
def test_derivatives_by_thermal_motion_are_exact(debye, name: str, dots: Dots):
    b = getattr(dots, name)
    ends = [debye.pattern(replace(dots, **{name: b + s})) for s in (1e-3, -1e-3)]
    expected = (ends[0] - ends[1]) / 2e-3
    _, columns = debye.derivatives(dots)
    assert np.abs(columns[name] - expected).max() < 1e-6 * np.abs(expected).max()


def test_splines_are_read_as_scipy_reads_them():
    rows = spline_filter1d(np.random.default_rng(1).normal(size=(3, 60)), order=3, axis=1)
    where = np.linspace(2.0, 57.0, 111)
    expected = [map_coordinates(row, where[None], order=3, prefilter=False) for row in rows]
    assert _cubic(rows, where) == pytest.approx(np.stack(expected), abs=1e-12)


@pytest.mark.parametrize("size", [1.2, 2.45, 6.0, 11.0])
@pytest.mark.parametrize("dispersion", [0.02, 0.12, 0.4])
def test_clusters_that_are_left_out_scatter_nothing(artifact, size: float, dispersion: float):
    library = artifact.library
    weights = lognormal_weights(library.diameters, size, dispersion)[None]
    kept = np.zeros_like(weights)
    some = _telling(weights, library.diameters)
    kept[:, some] = weights[:, some]
    q = np.linspace(1.0, 15.0, 300)
    sums = partial_sums(library, q, 1.0)
    whole, part = (sums.mixed(w[0]).lead_lead for w in (weights, kept))
    assert np.abs(part - whole).max() < 1e-9 * np.abs(whole).max()
    assert dispersion > 0.1 or some.stop - some.start < library.diameters.size / 2
