"""The size that a Debye model gives, and how sure it is, on patterns of known truth."""

from dataclasses import replace

import numpy as np
import pytest

from qd_agent.inference.artifact import read_artifact
from qd_agent.inference.binned_debye import BINNED_Q, BinnedDebye, Dots
from qd_agent.inference.ensemble_fit import EnsembleFitter, FittedSize

ONE = np.ones_like(BINNED_Q)
PUBLISHED = Dots(4.0, 0.12, 1.001, 1.32, 1.49)


@pytest.fixture(scope="module")
def debye() -> BinnedDebye:
    artifact = read_artifact()
    return BinnedDebye(artifact.library, artifact.form_q, artifact.form_lead, artifact.form_sulfur)


@pytest.fixture(scope="module")
def fitter(debye: BinnedDebye) -> EnsembleFitter:
    return EnsembleFitter(debye, read_artifact().liquids)


def liquid() -> np.ndarray:
    halo = np.exp(-0.5 * ((BINNED_Q - 1.35) / 0.2) ** 2) + 0.15 + 0.1 * np.exp(-BINNED_Q / 4.0)
    return halo / halo.mean()


def counted(pattern: np.ndarray, counts: float, seed: int) -> np.ndarray:
    noisy = np.random.default_rng(seed).poisson(pattern * counts) / counts
    return noisy / noisy.mean()


def found(fitter: EnsembleFitter, pattern: np.ndarray, start: float = 4.2, **more) -> FittedSize:
    size = fitter.fit(pattern, more.pop("coverage", ONE), start, 0.15, **more)
    assert size is not None
    return size


@pytest.mark.parametrize("share", [0.1, 0.4, 1.0])
def test_errors_are_what_they_are_said_to_be(debye, fitter, share: float):
    pattern = share * debye.pattern(PUBLISHED) + (1 - share) * liquid()
    truth = debye.averages(PUBLISHED.size, PUBLISHED.dispersion)[0]
    scores = []
    for seed in range(12):
        size = found(fitter, counted(pattern, 4000.0, seed))
        scores.append((size.diameter - truth) / size.sd)
    assert np.sqrt(np.mean(np.square(scores))) < 1.6
    assert np.abs(np.mean(scores)) < 1.1


def test_a_clean_pattern_of_many_counts_is_read_to_a_hundredth_of_a_nanometre(debye, fitter):
    truth = debye.averages(PUBLISHED.size, PUBLISHED.dispersion)[0]
    size = found(fitter, counted(debye.pattern(PUBLISHED), 50_000.0, 1))
    assert size.hypothesis == 0
    assert size.diameter == pytest.approx(truth, abs=0.01)
    assert size.dispersion == pytest.approx(0.12, abs=0.01)


def test_a_pattern_that_is_wrong_somewhere_is_believed_less(debye, fitter):
    clean = debye.pattern(PUBLISHED)
    rough = clean * (1.0 + 0.05 * np.sin(11.0 * BINNED_Q))
    sizes = [found(fitter, counted(p, 20_000.0, 2)) for p in (clean, rough)]
    assert sizes[0].hypothesis == 0
    assert sizes[1].hypothesis > 0
    assert sizes[1].sd > 3.0 * sizes[0].sd


def test_noise_that_neighbours_share_makes_the_fit_less_sure(debye, fitter):
    pattern = 0.3 * debye.pattern(PUBLISHED) + 0.7 * liquid()
    white = counted(pattern, 500.0, 3)
    shared = pattern + np.convolve(white - pattern, np.ones(3) / 3.0**0.5, mode="same")
    assert found(fitter, shared).sd > 1.3 * found(fitter, white).sd


def test_a_known_resolution_is_taken_into_account(debye, fitter):
    big = replace(PUBLISHED, size=8.0)
    truth = debye.averages(big.size, big.dispersion)[0]
    blurred = counted(debye.pattern(replace(big, resolution=0.01)), 20_000.0, 4)
    told = found(fitter, blurred, 7.5, resolution=0.01)
    untold = found(fitter, blurred, 7.5)
    assert told.diameter == pytest.approx(truth, abs=0.03)
    assert untold.diameter < truth - 0.2


def test_bins_that_were_not_measured_are_not_asked(debye, fitter):
    coverage = ((BINNED_Q > 1.4) & (BINNED_Q < 6.0)).astype(float)
    pattern = counted(debye.pattern(PUBLISHED), 4000.0, 5)
    poisoned = np.where(coverage > 0, pattern, 1e6)
    assert found(fitter, poisoned, coverage=coverage) == found(
        fitter, np.where(coverage > 0, pattern, 0.0), coverage=coverage
    )


def test_a_pattern_without_nanocrystals_gives_no_nonsense(fitter):
    size = fitter.fit(counted(liquid(), 4000.0, 6), ONE, 4.0, 0.12)
    assert size is None or np.isfinite([size.diameter, size.sd, size.volume]).all()
