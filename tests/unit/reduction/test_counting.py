"""What a user may judge a frame by comes with its pattern, as far as it is known."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from qd_agent.core.frame import Frame
from qd_agent.reduction import ReductionSettings, open_reducers
from tests.unit.reduction.conftest import SHAPE


def test_quality_says_what_was_looked_at_and_nothing_else(
    poni: Path, frame: Callable[..., Frame], scattering: Callable[..., np.ndarray]
):
    plain = open_reducers(ReductionSettings(poni=poni), {})
    assert plain.reduce(frame(scattering(), monitor=7.0)).quality == {}
    watched = ReductionSettings(poni=poni, monitor_key="monitor", saturation=5000.0)
    reducers = open_reducers(watched, {})
    assert reducers.reduce(frame(scattering(), monitor=7.0)).quality == {
        "saturated_share": 0.0,
        "monitor": 7.0,
    }
    image = scattering()
    image[50, 50:54] = 6000
    reducers.add_dark(frame(np.zeros(SHAPE, dtype=np.uint32)))
    quality = reducers.reduce(frame(image, monitor=7.0)).quality
    assert quality["saturated_share"] == pytest.approx(4 / image.size, rel=0.05)
    assert quality["dark_age_s"] == 0.0
