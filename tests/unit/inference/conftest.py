"""The shipped model and patterns to feed it."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from qd_agent.core.pattern import PUBLISHED_GRID, Pattern
from qd_agent.inference import SizerSettings, open_sizer
from qd_agent.inference.sizer import NetworkSizer
from training.background import liquid_background
from training.simulation import NanocrystalSimulator

Float = npt.NDArray[np.float64]
Q = PUBLISHED_GRID.values()
MakePattern = Callable[..., Pattern]


@pytest.fixture(scope="session")
def sizer() -> NetworkSizer:
    return open_sizer(SizerSettings())


@pytest.fixture(scope="session")
def simulator() -> NanocrystalSimulator:
    return NanocrystalSimulator(Q, wavelength=0.1839, max_diameter_nm=12.0)


def as_pattern(intensity: Float, low: float = 0.0, high: float = 99.0) -> Pattern:
    """A pattern of these intensities, covered between two Q."""
    coverage = ((low <= Q) & (high >= Q)).astype(np.float64)
    return Pattern(intensity=intensity * coverage, sigma=np.zeros_like(Q), coverage=coverage)


@pytest.fixture(scope="session")
def make(simulator: NanocrystalSimulator) -> MakePattern:
    """Nanocrystals in a liquid, counted: make(diameter, dispersion, share, counts, low, high)."""

    def build(  # noqa: PLR0917 - a sample has as many properties as it has
        diameter: float = 4.0,
        dispersion: float = 0.12,
        share: float = 0.6,
        counts: float = 2000.0,
        low: float = 0.0,
        high: float = 99.0,
        seed: int = 0,
    ) -> Pattern:
        rng = np.random.default_rng(seed)
        pattern = share * simulator.intensity(diameter, dispersion)
        pattern = pattern + (1 - share) * liquid_background(Q, rng)
        return as_pattern(rng.poisson(pattern * counts).astype(np.float64), low, high)

    return build
