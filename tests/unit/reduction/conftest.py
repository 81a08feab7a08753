"""A small detector whose every Q is known, and frames on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qd_agent.core.frame import Frame, FrameKey, FrameReference, InlineLocation

SHAPE = (200, 180)

PONI = """# Nota: C-Order, 1 refers to the Y axis, 2 to the X axis
poni_version: 2
Detector: Detector
Detector_config: {{"pixel1": 0.000688, "pixel2": 0.000688, "max_shape": {shape}}}
Distance: 0.2
Poni1: 0.055
Poni2: 0.07
Rot1: 0.02
Rot2: -0.01
Rot3: 0.0
Wavelength: {wavelength}
"""


@pytest.fixture(scope="session")
def poni(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An off-centre, tilted detector of 200 × 180 pixels at 0.1839 Å; Q up to about 18 1/Å."""
    path = tmp_path_factory.mktemp("poni") / "small.poni"
    path.write_text(PONI.format(shape="[200, 180]", wavelength=1.839e-11))
    return path


@pytest.fixture
def shapeless(tmp_path: Path) -> Path:
    """The same detector, of unstated shape."""
    path = tmp_path / "shapeless.poni"
    path.write_text(PONI.format(shape="null", wavelength=1.839e-11))
    return path


@pytest.fixture
def frame() -> Callable[..., Frame]:
    """Make a frame from an image: frame(image, run='u', monitor=1.0)."""

    def make(image: Any, run: str = "u", **readings: float) -> Frame:
        array = np.asarray(image)
        key = FrameKey(run_uid=run, stream="primary", data_key="det_image", seq_num=1)
        shape = array.shape if array.ndim == 2 else SHAPE
        return Frame(
            FrameReference(key, 0.0, InlineLocation(), shape, array.dtype.str, readings), array
        )

    return make


@pytest.fixture
def scattering() -> Callable[..., np.ndarray]:
    """Make counts with Poisson noise on SHAPE, around the PONI's beam: scattering(mean, seed)."""

    def make(mean: float = 50.0, seed: int = 0) -> np.ndarray:
        y, x = np.indices(SHAPE)
        r = np.hypot(y - 76.5, x - 95.4)
        shape = 1 + np.exp(-((r - 40) ** 2) / 50) + 0.5 * np.exp(-((r - 75) ** 2) / 80)
        return np.random.default_rng(seed).poisson(mean * shape).astype(np.uint32)

    return make
