"""Reduction of a megapixel frame, against one plain np.bincount of the same image."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.timing import Row, medians
from qd_agent.core.frame import Frame, FrameKey, FrameReference, InlineLocation
from qd_agent.core.pattern import PUBLISHED_GRID
from qd_agent.reduction import ReductionSettings, open_reducer
from qd_agent.reduction.centring import SECTORS, Centring
from qd_agent.reduction.geometry import load_geometry

SHAPE = (1043, 981)
PONI = """poni_version: 2
Detector: Detector
Detector_config: {"pixel1": 0.000172, "pixel2": 0.000172, "max_shape": [1043, 981]}
Distance: 0.19
Poni1: 0.0897
Poni2: 0.0844
Rot1: 0
Rot2: 0
Rot3: 0
Wavelength: 1.839e-11
"""


def rows() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        poni = Path(folder) / "pilatus.poni"
        poni.write_text(PONI)
        return _rows(poni)


def _rows(poni: Path) -> list[Row]:
    rng = np.random.default_rng(0)
    image = rng.poisson(20, SHAPE).astype(np.uint32)
    image[rng.random(SHAPE) < 0.01] = 2**32 - 1
    frame = _frame(image)
    reducer = open_reducer(ReductionSettings(poni=poni))
    reducer.add_dark(_frame(rng.poisson(1, SHAPE).astype(np.uint32)))

    pixels = load_geometry(poni).integrator
    edge = PUBLISHED_GRID.q_min - PUBLISHED_GRID.step / 2
    q = pixels.array_from_unit(SHAPE, "center", "q_A^-1", scale=True).ravel()
    bins = np.clip((q - edge) / PUBLISHED_GRID.step, 0, PUBLISHED_GRID.size).astype(np.int64)
    weights = image.ravel().astype(np.float64)
    masked = np.where(image == 2**32 - 1, np.nan, image)
    variance = np.nan_to_num(masked)

    def floor() -> object:
        return np.bincount(bins, weights=weights, minlength=PUBLISHED_GRID.size)

    def peer() -> object:
        return pixels.integrate1d(
            masked,
            PUBLISHED_GRID.size,
            unit="q_A^-1",
            radial_range=(edge, edge + PUBLISHED_GRID.span),
            variance=variance,
            polarization_factor=0.99,
            method=("no", "csr", "cython"),
        )

    ours, bincount, pyfai = medians(lambda: reducer.reduce(frame), floor, peer)
    what = "reduce: 1043 × 981 uint32, dark, 1 % bad pixels, to the grid"
    return [
        Row(what, ours, "one np.bincount of the image (floor)", bincount),
        Row(what, ours, "pyFAI integrate1d, CSR Cython, no dark", pyfai),
        _sectors(bincount),
    ]


def _sectors(bincount: float) -> Row:
    """Looking whether the beam centre is right, which `reduce` does of every frame."""
    q = PUBLISHED_GRID.values()
    peaks = sum(np.exp(-0.5 * ((q - at) / 0.06) ** 2) for at in (1.83, 2.11, 2.99, 3.51, 4.62))
    counts = (
        np.random.default_rng(1)
        .poisson(500.0 + 2000.0 * peaks, (SECTORS, q.size))
        .astype(np.float64)
    )
    centring = Centring(q, np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]]))
    (ours,) = medians(lambda: centring.shift(counts, counts, np.ones_like(counts)))
    return Row("of it: opposite sectors compared", ours, "that np.bincount", bincount)


def _frame(image: np.ndarray) -> Frame:
    key = FrameKey(run_uid="bench", stream="primary", data_key="det", seq_num=1)
    return Frame(FrameReference(key, 0.0, InlineLocation(), SHAPE), image)
