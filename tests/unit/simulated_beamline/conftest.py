"""A small detector and a cheap sample that the tests of this folder share."""

from dataclasses import dataclass

import numpy as np
import pytest

from simulated_beamline.layout import Geometry, Pixels, pilatus_1m, pixels_of
from simulated_beamline.projection import Projector
from simulated_beamline.sample import QAxis, Sample


class FakeNanocrystals:
    """Peaks whose width falls with the diameter; no physics, no time."""

    def __init__(self, q):
        self.q = q

    def intensity(self, diameter_nm, dispersion):
        peaks = [np.exp(-0.5 * ((self.q - c) * diameter_nm * 2.0) ** 2) for c in (1.8, 2.1, 3.0)]
        return 0.2 + np.sum(peaks, axis=0)

    def averages(self, diameter_nm, dispersion):
        return diameter_nm, diameter_nm * (1.0 + 3.0 * dispersion**2)


@dataclass(frozen=True)
class Stand:
    geometry: Geometry
    pixels: Pixels
    axis: QAxis
    projector: Projector
    sample: Sample


@pytest.fixture(scope="session")
def stand():
    geometry, axis = pilatus_1m(binning=4), QAxis()
    q = axis.values()
    return Stand(
        geometry,
        pixels_of(geometry, seed=1),
        axis,
        Projector(geometry, axis),
        Sample(axis, FakeNanocrystals(q), 1.0 + np.exp(-q / 3.0)),
    )
