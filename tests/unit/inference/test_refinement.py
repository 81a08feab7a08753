"""A refinement finds what a pattern was made from, says how sure it is, and refuses the rest."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from qd_agent.core.errors import BadFrame
from qd_agent.core.pattern import PUBLISHED_GRID, Pattern, normalize_area
from qd_agent.inference.artifact import read_artifact
from qd_agent.inference.refinement import Options, Refiner, Start
from qd_agent.inference.refinement_result import Refinement
from qd_agent.inference.settings import SizerSettings
from qd_agent.scattering.form_factors import f0
from training.background import liquid_background
from training.debye import build_library
from training.simulation import NanocrystalSimulator

Q = PUBLISHED_GRID.values()
WAVELENGTH = 0.5642


@pytest.fixture(scope="module")
def simulator() -> NanocrystalSimulator:
    return NanocrystalSimulator(Q, WAVELENGTH, max_diameter_nm=12.0)


@pytest.fixture(scope="module")
def refiner() -> Refiner:
    q = np.arange(0.8, 15.5, 0.01)
    return Refiner(
        SimpleNamespace(
            library=build_library(12.0),
            form_q=q,
            form_lead=f0("Pb", q),
            form_sulfur=f0("S", q),
            liquids=read_artifact(SizerSettings().model).liquids,
        )
    )


def counted(ideal: np.ndarray, counts: float, seed: int, low: float = 0.0) -> Pattern:
    rng = np.random.default_rng(seed)
    covered = (low <= Q).astype(np.float64)
    values = rng.poisson(np.maximum(ideal, 0.0) * counts).astype(np.float64)
    return normalize_area(Pattern(values * covered, np.zeros_like(Q), covered))


def mixture(simulator: NanocrystalSimulator, diameter: float, share: float, seed: int = 0):
    """Nanocrystals of dispersion 12 %, lattice scale 1.002, B 1.4 and 2.1 Å², in a liquid."""
    crystals = simulator.intensity(diameter, 0.12, 1.002, 1.4, 2.1)
    return share * crystals + (1 - share) * liquid_background(Q, np.random.default_rng(seed))


def within(found: Refinement, name: str, truth: float, errors: float = 4.0) -> bool:
    parameter = found.parameters[name]
    return abs(parameter.value - truth) < errors * parameter.error


@pytest.fixture(scope="module")
def fitted(simulator: NanocrystalSimulator, refiner: Refiner) -> Refinement:
    pattern = counted(mixture(simulator, 4.0, 0.6), 2000.0, 1)
    return refiner.refine(pattern, Start(4.3, 0.15), Options(wavelength=WAVELENGTH))


def test_what_the_pattern_was_made_from_is_found_within_the_errors(
    fitted: Refinement, simulator: NanocrystalSimulator
):
    number, volume = simulator.averages(4.0, 0.12)
    assert abs(fitted.number.value - number) < 4 * fitted.number.error < 0.3
    assert abs(fitted.volume.value - volume) < 4 * fitted.volume.error < 0.2
    assert abs(fitted.dispersion.value - 0.12) < 4 * fitted.dispersion.error
    assert within(fitted, "lattice_scale", 1.002)
    assert within(fitted, "b_lead", 1.4)
    assert within(fitted, "b_sulfur", 2.1)
    assert fitted.share == pytest.approx(0.6, abs=0.1)


def test_counting_noise_alone_is_left(fitted: Refinement):
    assert fitted.converged
    assert fitted.agreeing == fitted.starts == 3
    assert not fitted.measured_sigma
    assert 0.9 < fitted.reduced_chi2 < 1.15
    assert fitted.rwp == pytest.approx(fitted.rexp * math.sqrt(fitted.reduced_chi2))
    assert 1.0 <= fitted.inflation < 1.5


def test_the_covariance_is_that_of_the_stated_errors(fitted: Refinement):
    errors = np.array([fitted.parameters[name].error for name in fitted.free])
    assert np.sqrt(np.diag(fitted.covariance)) == pytest.approx(errors)
    assert np.linalg.eigvalsh(fitted.covariance / np.outer(errors, errors)).min() > -1e-6
    first, second, correlation = fitted.worst_pair
    assert {first, second} <= set(fitted.free)
    assert 0.5 < abs(correlation) < 1.0


def test_the_record_is_json_and_carries_everything(fitted: Refinement):
    record = json.loads(json.dumps(fitted.record(), allow_nan=False))
    assert record["diameter_nm"] == fitted.number.value
    assert len(record["covariance"]) == len(record["covariance_of"])
    assert len(record["curves"]["model"]) == Q.size
    assert set(record["parameters"]) == set(record["errors"])


@pytest.mark.parametrize("start", [3.4, 4.6])
def test_a_start_that_is_wrong_by_fifteen_percent_ends_at_the_same_size(
    fitted: Refinement, simulator: NanocrystalSimulator, refiner: Refiner, start: float
):
    pattern = counted(mixture(simulator, 4.0, 0.6), 2000.0, 1)
    found = refiner.refine(pattern, Start(start, 0.2), Options(wavelength=WAVELENGTH))
    assert found.number.value == pytest.approx(fitted.number.value, abs=0.01)


def test_errors_over_stated_errors_have_unit_spread(
    simulator: NanocrystalSimulator, refiner: Refiner
):
    pulls: list[float] = []
    for seed, (diameter, share) in enumerate([(2.6, 0.5), (3.5, 1.0), (5.0, 0.3), (7.0, 0.6)]):
        pattern = counted(mixture(simulator, diameter, share, seed), 300.0, seed)
        found = refiner.refine(pattern, Start(diameter), Options(wavelength=WAVELENGTH))
        truth, _ = simulator.averages(diameter, 0.12)
        pulls.append((found.number.value - truth) / found.number.error)
    assert 0.3 < float(np.sqrt(np.mean(np.square(pulls)))) < 1.8


def test_a_misfit_that_is_no_noise_widens_the_errors(
    fitted: Refinement, simulator: NanocrystalSimulator, refiner: Refiner
):
    wrong = 1.0 + 0.03 * np.sin(2.0 * np.pi * Q / 0.3)
    pattern = counted(mixture(simulator, 4.0, 0.6) * wrong, 2000.0, 1)
    found = refiner.refine(pattern, Start(4.0), Options(wavelength=WAVELENGTH))
    assert found.inflation > 5.0
    assert found.number.error > 1.5 * fitted.number.error


def test_a_measured_solvent_takes_the_place_of_the_background(
    simulator: NanocrystalSimulator, refiner: Refiner
):
    ideal = mixture(simulator, 4.0, 0.2, seed=5)
    solvent = counted(liquid_background(Q, np.random.default_rng(5)), 1e5, 6)
    options = Options(wavelength=WAVELENGTH, solvent=solvent)
    found = refiner.refine(counted(ideal, 2000.0, 7), Start(4.0), options)
    assert found.parameters["solvent"].value > 10 * found.parameters["solvent"].error
    assert abs(found.number.value - 4.0) < 4 * found.number.error


def test_free_lets_go_of_the_priors_on_dispersion_and_b(
    simulator: NanocrystalSimulator, refiner: Refiner
):
    pattern = counted(mixture(simulator, 4.0, 0.3), 200.0, 3)
    held, free = (
        refiner.refine(pattern, Start(4.0), Options(free=f, wavelength=WAVELENGTH))
        for f in (False, True)
    )
    for name in ("dispersion", "b_lead", "b_sulfur"):
        assert free.parameters[name].error > held.parameters[name].error


def test_without_a_wavelength_the_contrast_is_fitted(
    simulator: NanocrystalSimulator, refiner: Refiner
):
    pattern = counted(mixture(simulator, 5.0, 0.6), 500.0, 2)
    found = refiner.refine(pattern, Start(5.0))
    assert "lead_real" in found.parameters
    assert abs(found.number.value - 5.0) < 4 * found.number.error


def test_sigma_of_the_file_is_used_where_it_is_given(
    simulator: NanocrystalSimulator, refiner: Refiner
):
    pattern = counted(mixture(simulator, 4.0, 0.6), 500.0, 4)
    unit = pattern.intensity.mean() / 500.0
    measured = replace(pattern, sigma=2.0 * np.sqrt(np.maximum(pattern.intensity, 1.0) * unit))
    found = refiner.refine(measured, Start(4.0), Options(wavelength=WAVELENGTH))
    assert found.measured_sigma
    assert found.reduced_chi2 == pytest.approx(0.25, rel=0.15)
    assert found.inflation == 1.0


HOSTILE = {
    "flat": np.ones_like(Q),
    "zero": np.zeros_like(Q),
    "negative": -np.ones_like(Q),
    "not a number": np.full_like(Q, np.nan),
    "a slope": 100.0 / Q,
    "noise": np.random.default_rng(0).poisson(100.0, Q.size).astype(np.float64),
    "a liquid": np.random.default_rng(0).poisson(
        500.0 * liquid_background(Q, np.random.default_rng(1))
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_holds_no_nanocrystals_is_refused_in_one_line(refiner: Refiner, name: str):
    pattern = Pattern(np.asarray(HOSTILE[name], float), np.zeros_like(Q), np.ones_like(Q))
    with pytest.raises(BadFrame) as caught:
        refiner.refine(pattern, Start(4.0))
    assert "\n" not in str(caught.value)


def test_three_points_are_refused(refiner: Refiner):
    coverage = np.zeros_like(Q)
    coverage[1000:1003] = 1.0
    with pytest.raises(BadFrame, match="300 points"):
        refiner.refine(Pattern(np.ones_like(Q), np.zeros_like(Q), coverage), Start(4.0))


@pytest.mark.parametrize("start", [0.1, 40.0])
def test_a_start_beyond_the_clusters_is_refused(
    simulator: NanocrystalSimulator, refiner: Refiner, start: float
):
    with pytest.raises(BadFrame, match="outside what the model holds"):
        refiner.refine(counted(mixture(simulator, 4.0, 0.6), 100.0, 1), Start(start))
