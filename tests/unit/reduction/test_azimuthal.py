"""The integration against pyFAI's own engine, against formulas, and against the clock."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from qd_agent.core.errors import Fatal
from qd_agent.core.pattern import PUBLISHED_GRID
from qd_agent.reduction.azimuthal import Integrator
from qd_agent.reduction.geometry import load_geometry, orient
from qd_agent.reduction.settings import ReductionSettings

SHAPE = (200, 180)
EDGE = PUBLISHED_GRID.q_min - PUBLISHED_GRID.step / 2


def _integrator(poni: Path, **changes: object) -> Integrator:
    settings = ReductionSettings.model_validate({"poni": poni} | changes)
    return Integrator(load_geometry(poni), np.zeros(SHAPE, dtype=bool), settings)


@pytest.mark.parametrize("splitting", ["no", "bbox", "full"])
@pytest.mark.parametrize("corrected", [True, False])
@pytest.mark.parametrize("orientation", ["as_stored", "flip_rows"])
def test_intensity_and_sigma_are_those_of_pyfai(
    poni: Path, splitting: str, corrected: bool, orientation: str
):
    rng = np.random.default_rng(7)
    counts = rng.poisson(40, SHAPE).astype(float)
    invalid = rng.random(SHAPE) < 0.02
    factor = 0.99 if corrected else None
    ours = _integrator(
        poni,
        pixel_splitting=splitting,
        solid_angle=corrected,
        polarization_factor=factor,
        orientation=orientation,
        q_points=1000,
    )
    raw = ours.pattern(ours.sums(counts.copy(), invalid))
    turned = orient(np.where(invalid, np.nan, counts), orientation)  # type: ignore[arg-type]
    theirs = load_geometry(poni).integrator.integrate1d(
        np.ascontiguousarray(turned),
        1000,
        unit="q_A^-1",
        radial_range=(EDGE, EDGE + PUBLISHED_GRID.span),
        method=(splitting, "csr", "cython"),
        variance=np.ascontiguousarray(np.nan_to_num(turned)),
        correctSolidAngle=corrected,
        polarization_factor=factor,
    )
    seen = theirs.sum_normalization > 1e-6 * theirs.sum_normalization.max()
    there = np.isin(np.round(ours.q, 6), np.round(raw.q, 6))
    both = seen & there
    assert (seen != there).mean() < 0.002
    mine = np.full(1000, np.nan)
    mine[there] = raw.intensity
    np.testing.assert_allclose(mine[both], theirs.intensity[both], rtol=2e-5)
    assert raw.sigma is not None
    mine[there] = raw.sigma
    np.testing.assert_allclose(mine[both], theirs.sigma[both], rtol=2e-5)
    np.testing.assert_allclose(ours.q, theirs.radial, atol=1e-5)


def _analytic(shape: tuple[int, int], pixel: float, distance: float) -> tuple[np.ndarray, ...]:
    """Q (1/Å at 0.1839 Å), solid angle and polarization (0.99) of a flat, centred detector."""
    y = (np.arange(shape[0]) + 0.5 - shape[0] / 2)[:, None] * pixel
    x = (np.arange(shape[1]) + 0.5 - shape[1] / 2)[None, :] * pixel
    two_theta = np.arctan2(np.hypot(x, y), distance)
    q = 4 * np.pi * np.sin(two_theta / 2) / 0.1839
    cos = np.cos(two_theta)
    azimuth = np.arctan2(y, x)
    polarization = 0.5 * (1 + cos**2 - 0.99 * np.cos(2 * azimuth) * (1 - cos**2))
    return q, cos**3, polarization


def _curve(q: np.ndarray) -> np.ndarray:
    peaks = ((1.83, 1.0), (2.12, 1.4), (3.0, 0.9), (3.51, 0.7), (5.2, 0.4), (7.1, 0.2))
    background = 0.6 * np.exp(-(((q - 1.4) / 0.6) ** 2)) + 0.3 * np.exp(-q / 6)
    return background + sum(h * np.exp(-4 * np.log(2) * ((q - c) / 0.12) ** 2) for c, h in peaks)


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """A flat, centred detector of 500 × 480 pixels of 0.344 mm at 0.19 m; Q to about 15 1/Å."""
    path = tmp_path / "flat.poni"
    path.write_text(
        'poni_version: 2\nDetector: Detector\nDetector_config: {"pixel1": 0.000344, '
        f'"pixel2": 0.000344, "max_shape": [500, 480]}}\nDistance: 0.19\n'
        f"Poni1: {250 * 0.000344}\nPoni2: {240 * 0.000344}\nRot1: 0\nRot2: 0\nRot3: 0\n"
        "Wavelength: 1.839e-11\n"
    )
    return path


@pytest.mark.parametrize("mean", [30.0, 3000.0])
def test_a_known_curve_is_recovered_and_sigma_is_its_true_scatter(flat: Path, mean: float):
    q, solid_angle, polarization = _analytic((500, 480), 0.000344, 0.19)
    expected = mean * _curve(q) * solid_angle * polarization
    counts = np.random.default_rng(11).poisson(expected).astype(float)
    settings = ReductionSettings(poni=flat)
    ours = Integrator(load_geometry(flat), np.zeros((500, 480), dtype=bool), settings)
    nothing = np.zeros((500, 480), dtype=bool)
    raw = ours.pattern(ours.sums(counts, nothing))
    assert raw.sigma is not None
    pull = (raw.intensity - mean * _curve(raw.q)) / raw.sigma
    assert 0.9 < np.mean(pull**2) < 1.1
    assert abs(np.mean(pull)) < 0.1
    neighbours = np.corrcoef(pull[1:], pull[:-1])[0, 1]
    assert abs(neighbours) < 0.06  # independent points: 1/sqrt(5000) = 0.014
    assert raw.q.size > 4000


@pytest.mark.parametrize("splitting", ["bbox", "full"])
def test_with_splitting_sigma_holds_point_by_point_while_neighbours_share_counts(
    flat: Path, splitting: str
):
    q, solid_angle, polarization = _analytic((500, 480), 0.000344, 0.19)
    smooth = 1000 * np.exp(-q / 6) * solid_angle * polarization
    settings = ReductionSettings.model_validate({"poni": flat, "pixel_splitting": splitting})
    ours = Integrator(load_geometry(flat), np.zeros((500, 480), dtype=bool), settings)
    nothing = np.zeros((500, 480), dtype=bool)
    pulls: list[np.ndarray] = []
    for seed in range(6):
        counts = np.random.default_rng(seed).poisson(smooth).astype(float)
        raw = ours.pattern(ours.sums(counts, nothing))
        assert raw.sigma is not None
        inner = (raw.q > 1.2) & (raw.q < 13)
        pulls.append(((raw.intensity - 1000 * np.exp(-raw.q / 6)) / raw.sigma)[inner])
    assert 0.8 < np.mean(np.square(pulls)) < 1.2
    assert np.corrcoef(pulls[0][1:], pulls[0][:-1])[0, 1] > 0.3


def test_a_bin_without_counts_gets_the_smallest_uncertainty_of_the_others(poni: Path):
    ours = _integrator(poni)
    counts = np.random.default_rng(3).poisson(0.3, SHAPE).astype(float)
    raw = ours.pattern(ours.sums(counts, np.zeros(SHAPE, dtype=bool)))
    assert raw.sigma is not None
    assert (raw.intensity == 0).any()
    assert (raw.sigma > 0).all()


def test_masked_and_invalid_pixels_are_as_if_they_were_not_there(poni: Path):
    rng = np.random.default_rng(4)
    bad = rng.random(SHAPE) < 0.1
    counts = rng.poisson(20, SHAPE).astype(float)
    settings = ReductionSettings(poni=poni)
    geometry = load_geometry(poni)
    masked = Integrator(geometry, bad, settings)
    dynamic = _integrator(poni)
    nothing = np.zeros(SHAPE, dtype=bool)
    spoiled = np.where(bad, 1e9, counts)
    one = masked.pattern(masked.sums(spoiled.copy(), nothing))
    two = dynamic.pattern(dynamic.sums(spoiled.copy(), bad))
    np.testing.assert_allclose(one.q, two.q)
    np.testing.assert_allclose(one.intensity, two.intensity, rtol=1e-9)


def test_the_monitor_divides_intensity_and_sigma(poni: Path):
    ours = _integrator(poni)
    counts = np.full(SHAPE, 7.0)
    sums = ours.sums(counts, np.zeros(SHAPE, dtype=bool))
    one, two = ours.pattern(sums), ours.pattern(sums, monitor=4.0)
    np.testing.assert_allclose(one.intensity, 4 * two.intensity)
    assert one.sigma is not None
    assert two.sigma is not None
    np.testing.assert_allclose(one.sigma, 4 * two.sigma)


def test_a_geometry_that_misses_the_grid_is_refused_at_once(tmp_path: Path, poni: Path):
    far = tmp_path / "far.poni"
    far.write_text(poni.read_text().replace("Distance: 0.2", "Distance: 200"))
    with pytest.raises(Fatal, match=r"no unmasked pixel of .*far.poni"):
        _integrator(far)


def test_a_megapixel_frame_with_its_own_bad_pixels_costs_milliseconds(flat: Path, tmp_path: Path):
    path = tmp_path / "large.poni"
    path.write_text(
        flat.read_text().replace("[500, 480]", "[1043, 981]").replace("0.000344", "0.000172")
    )
    ours = Integrator(
        load_geometry(path), np.zeros((1043, 981), dtype=bool), ReductionSettings(poni=path)
    )
    rng = np.random.default_rng(0)
    counts = rng.poisson(10, (1043, 981)).astype(float)
    spent: list[float] = []
    for _ in range(5):
        invalid = rng.random((1043, 981)) < 0.01
        start = time.process_time()
        ours.pattern(ours.sums(counts.copy(), invalid))
        spent.append(time.process_time() - start)
    assert min(spent) < 0.05  # about 0.006 s; building the matrix takes 0.3 s and more
