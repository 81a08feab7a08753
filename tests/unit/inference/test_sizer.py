"""The sizer: real sizes for nanocrystals, honest words for everything else, never an exception."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from qd_agent.core.errors import Fatal
from qd_agent.core.pattern import PUBLISHED_GRID, Pattern, QGrid, RawPattern, resample
from qd_agent.core.prediction import Estimate, Verdict
from qd_agent.inference import SizerSettings, open_sizer
from qd_agent.inference.sizer import NetworkSizer
from training.atoms import LEAD, SULFUR, Atoms
from training.background import liquid_background
from training.histogram import interference
from training.materials import NAMED, named, powder
from training.simulation import NanocrystalSimulator

Q = PUBLISHED_GRID.values()
MakePattern = Callable[..., Pattern]


def pattern_of(intensity: np.ndarray, coverage: np.ndarray | None = None) -> Pattern:
    covered = np.ones_like(Q) if coverage is None else coverage
    return Pattern(intensity=intensity, sigma=np.zeros_like(Q), coverage=covered)


def verdict_of(sizer: NetworkSizer, intensity: np.ndarray) -> Verdict:
    return sizer.size([pattern_of(intensity)])[0].estimate.verdict


def assert_no_size(estimate: Estimate) -> None:
    assert estimate.verdict is not Verdict.SIZED
    assert estimate.diameter_nm is None
    assert estimate.reason


@pytest.mark.parametrize("diameter", [2.5, 4.0, 6.0, 8.5])
def test_nanocrystals_get_their_size(sizer: NetworkSizer, make: MakePattern, diameter: float):
    sized = sizer.size([make(diameter, 0.12, counts=20000.0)])[0]
    e = sized.estimate
    assert e.verdict is Verdict.SIZED, e.reason
    assert e.diameter_nm == pytest.approx(diameter, abs=0.08 * diameter)
    assert e.interval_nm is not None
    assert e.interval_nm[0] <= e.diameter_nm <= e.interval_nm[1]
    assert e.diameter_volume_nm is not None
    assert e.diameter_volume_nm > e.diameter_nm
    assert sum(e.class_probabilities) == pytest.approx(1.0)
    assert e.nanocrystal_fraction == pytest.approx(0.6, abs=0.15)


@pytest.mark.parametrize(("dispersion", "wide"), [(0.1, False), (0.28, True)])
def test_a_wide_dispersion_is_flagged(
    sizer: NetworkSizer, make: MakePattern, dispersion: float, wide: bool
):
    e = sizer.size([make(4.0, dispersion, counts=20000.0)])[0].estimate
    assert e.verdict is Verdict.SIZED, e.reason
    assert ("wide_dispersion" in e.flags) == wide


def rod(diameter_nm: float) -> np.ndarray:
    """Ellipsoid twice as long as thick, of the volume of such a sphere: I(Q), electrons²."""
    half = np.array([1.0, 1.0, 2.0]) * 5.0 * diameter_nm / 2.0 ** (1.0 / 3.0)
    lattice = np.indices((38, 38, 38)).reshape(3, -1).T - 19
    inside = ((lattice * 2.968 / half) ** 2).sum(axis=1) <= 1.0
    points = lattice[inside]
    atoms = Atoms(2.968 * points, points.sum(axis=1) % 2, np.ones(len(points)), (LEAD, SULFUR))
    return interference(atoms, Q, 1e-4).intensity(0.5642)


def test_rods_are_flagged_and_sized_by_their_volume(sizer: NetworkSizer):
    clean = 0.3 * rod(3.1) + 0.4 * rod(3.5) + 0.3 * rod(3.9)
    counted = np.random.default_rng(0).poisson(clean / clean.mean() * 5000.0).astype(float)
    e = sizer.size([pattern_of(counted)])[0].estimate
    assert "wide_dispersion" in e.flags
    assert e.diameter_volume_nm == pytest.approx(3.6, abs=0.25)


def test_the_explanation_lies_on_the_pattern(sizer: NetworkSizer, make: MakePattern):
    sized = sizer.size([make(4.0, 0.12, counts=20000.0)])[0]
    assert sized.explanation is not None
    model, measured = sized.explanation.model, sized.pattern.intensity
    assert measured.mean() == pytest.approx(1000.0 / PUBLISHED_GRID.span)
    assert np.linalg.norm(model - measured) < 0.05 * np.linalg.norm(measured)
    assert (sized.explanation.background <= model + 1e-9).all()


def test_fewer_counts_give_a_wider_interval(sizer: NetworkSizer, make: MakePattern):
    def width(counts: float) -> float:
        answers = sizer.size([make(4.0, share=0.1, counts=counts, seed=s) for s in range(4)])
        spans = [a.estimate.interval_nm for a in answers]
        return float(np.mean([high - low for low, high in filter(None, spans)]))

    assert width(30.0) > 1.2 * width(30000.0)


def test_the_laboratory_window_is_enough(sizer: NetworkSizer, make: MakePattern):
    e = sizer.size([make(4.0, counts=5000.0, low=1.3, high=6.5)])[0].estimate
    assert e.verdict is Verdict.SIZED
    assert e.diameter_nm == pytest.approx(4.0, abs=0.5)


@pytest.mark.parametrize(("low", "high"), [(3.2, 15.0), (0.9, 3.0), (20.0, 30.0)])
def test_windows_without_size_are_named(
    sizer: NetworkSizer, make: MakePattern, low: float, high: float
):
    estimate = sizer.size([make(4.0, low=low, high=high)])[0].estimate
    assert_no_size(estimate)
    assert estimate.verdict is Verdict.INSUFFICIENT_Q


@pytest.mark.parametrize("width", [0.005, 0.03])
def test_coarse_powder_of_lead_sulfide_is_too_large_to_size(sizer: NetworkSizer, width: float):
    rng = np.random.default_rng(0)
    lines = powder(Q, "fcc", 5.934, width, rng)
    estimate = sizer.size([pattern_of(rng.poisson(lines * 2000.0).astype(float))])[0].estimate
    assert_no_size(estimate)
    assert estimate.verdict is Verdict.OUT_OF_DOMAIN


def test_clusters_beyond_the_range_are_not_pressed_into_it(sizer: NetworkSizer):
    large = NanocrystalSimulator(Q, max_diameter_nm=20.0).intensity(15.0, 0.1)
    counted = np.random.default_rng(0).poisson(large * 2000.0).astype(float)
    estimate = sizer.size([pattern_of(counted)])[0].estimate
    assert_no_size(estimate)
    assert "larger" in estimate.reason


def test_liquids_have_no_nanocrystals(sizer: NetworkSizer):
    rng = np.random.default_rng(11)
    patterns = [
        pattern_of(rng.poisson(liquid_background(Q, rng) * 3000.0).astype(float)) for _ in range(20)
    ]
    verdicts = [s.estimate.verdict for s in sizer.size(patterns)]
    assert Verdict.SIZED not in verdicts
    assert verdicts.count(Verdict.NO_NANOCRYSTALS) >= 18


@pytest.mark.parametrize("name", sorted(NAMED))
@pytest.mark.parametrize("crystallite_nm", [3.0, 8.0, 60.0])
def test_other_materials_get_no_size(sizer: NetworkSizer, name: str, crystallite_nm: float):
    rng = np.random.default_rng(2)
    clean = named(Q, name, crystallite_nm, rng)
    mixed = 0.5 * clean + 0.5 * liquid_background(Q, rng)
    patterns = [pattern_of(rng.poisson(p * 3000.0).astype(float)) for p in (clean, mixed)]
    for sized in sizer.size(patterns):
        assert_no_size(sized.estimate)


@pytest.mark.parametrize(
    "intensity",
    [
        np.ones_like(Q),
        np.full_like(Q, 1e-30),
        np.full_like(Q, 1e30),
        Q**-2,
        Q**-4,
        Q,
        np.exp(-Q),
        np.where(Q > 5, 2.0, 1.0),
        1.0 + 0.5 * np.sin(20 * Q),
        np.where(np.arange(Q.size) == 700, 1e6, 1.0),
    ],
    ids=["flat", "tiny", "huge", "Q^-2", "Q^-4", "ramp", "decay", "step", "ripple", "spike"],
)
def test_shapes_that_are_no_pattern_get_no_size(sizer: NetworkSizer, intensity: np.ndarray):
    rng = np.random.default_rng(0)
    with_noise = rng.poisson(np.clip(intensity / intensity.mean() * 1000.0, 0, 1e12)).astype(float)
    for values in (intensity, with_noise):
        assert_no_size(sizer.size([pattern_of(values)])[0].estimate)


def test_pure_noise_gets_no_size(sizer: NetworkSizer):
    rng = np.random.default_rng(0)
    for values in (rng.random(Q.size), rng.exponential(1.0, Q.size), rng.standard_normal(Q.size)):
        assert_no_size(sizer.size([pattern_of(values)])[0].estimate)


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf, -np.inf])
def test_dead_frames_are_bad_frames(sizer: NetworkSizer, value: float):
    assert verdict_of(sizer, np.full_like(Q, value)) is Verdict.BAD_FRAME


def test_nothing_covered_is_insufficient(sizer: NetworkSizer):
    for coverage in (np.zeros_like(Q), np.full_like(Q, np.nan)):
        estimate = sizer.size([pattern_of(np.ones_like(Q), coverage)])[0].estimate
        assert estimate.verdict is Verdict.INSUFFICIENT_Q


def test_a_few_broken_points_do_no_harm(sizer: NetworkSizer, make: MakePattern):
    good = make(4.0, counts=5000.0)
    broken = good.intensity.copy()
    broken[1000:1040] = np.nan
    broken[3000] = np.inf
    answer = sizer.size([replace(good, intensity=broken)])[0]
    assert answer.estimate.verdict is Verdict.SIZED
    assert answer.estimate.diameter_nm == pytest.approx(4.0, abs=0.4)
    assert np.isfinite(answer.pattern.intensity).all()


def test_scale_does_not_matter_and_order_is_kept(sizer: NetworkSizer, make: MakePattern):
    small, large = make(2.5, counts=5000.0), make(7.0, counts=5000.0)
    scaled = replace(small, intensity=small.intensity * 1e200)
    answers = sizer.size([small, large, pattern_of(np.zeros_like(Q)), scaled])
    sizes = [a.estimate.diameter_nm for a in answers]
    assert sizes[0] == pytest.approx(sizes[3], rel=1e-4)
    assert sizes[1] is not None
    assert sizes[1] > 6
    assert answers[2].estimate.verdict is Verdict.BAD_FRAME
    assert sizer.size([]) == []


def test_one_answer_does_not_depend_on_its_neighbours(sizer: NetworkSizer, make: MakePattern):
    patterns = [make(d, counts=3000.0) for d in (2.5, 4.0, 7.0)]
    together = [s.estimate.diameter_nm for s in sizer.size(patterns)]
    alone = [sizer.size([p])[0].estimate.diameter_nm for p in patterns]
    assert together == pytest.approx(alone, abs=1e-4)


def test_another_grid_is_brought_to_the_published_one(sizer: NetworkSizer, make: MakePattern):
    good = make(4.0, counts=20000.0)
    grid = QGrid(q_min=1.2, step=0.01, size=800)
    values = np.interp(grid.values(), Q, good.intensity)
    other = Pattern(values, np.zeros(800), np.ones(800), grid=grid, flags=("no_monitor",))
    answer = sizer.size([other])[0]
    assert answer.pattern.grid == PUBLISHED_GRID
    assert answer.estimate.diameter_nm == pytest.approx(4.0, abs=0.4)
    assert "no_monitor" in answer.estimate.flags


def coarsened(pattern: Pattern, points: int) -> Pattern:
    """As a program integrates that takes so many points of the grid for one."""
    size = Q.size // points * points
    q, values = (a[:size].reshape(-1, points).mean(axis=1) for a in (Q, pattern.intensity))
    return resample(RawPattern(q, values))


@pytest.mark.parametrize(("diameter", "points"), [(8.0, 6), (5.0, 10)])
def test_coarse_steps_do_not_make_nanocrystals_small(
    sizer: NetworkSizer, make: MakePattern, diameter: float, points: int
):
    coarse = coarsened(make(diameter, counts=20000.0), points)
    estimate = sizer.size([coarse])[0].estimate
    assert estimate.diameter_nm == pytest.approx(diameter, abs=0.2)


@pytest.mark.parametrize("step", [0.0125, 0.02])
def test_intervals_hold_whether_points_are_means_over_a_step_or_samples(
    sizer: NetworkSizer, simulator: NanocrystalSimulator, step: float
):
    q = np.arange(1.0, 14.99, step)
    smooth = simulator.intensity(8.0, 0.12)
    samples = np.interp(q, Q, smooth)
    means = np.mean([np.interp(q + a * step, Q, smooth) for a in np.linspace(-0.5, 0.5, 51)], 0)
    truth, truth_volume = simulator.averages(8.0, 0.12)
    for ideal in (samples, means):
        counts = np.random.default_rng(1).poisson(20000.0 * ideal / ideal.mean()).astype(float)
        estimate = sizer.size([resample(RawPattern(q, counts))])[0].estimate
        assert estimate.interval_nm is not None
        assert estimate.interval_volume_nm is not None
        assert estimate.interval_nm[0] <= truth <= estimate.interval_nm[1]
        assert estimate.interval_volume_nm[0] <= truth_volume <= estimate.interval_volume_nm[1]


def test_steps_too_coarse_for_the_peaks_are_refused(sizer: NetworkSizer, make: MakePattern):
    estimate = sizer.size([coarsened(make(8.0, counts=20000.0), 18)])[0].estimate
    assert_no_size(estimate)
    assert estimate.verdict is Verdict.INSUFFICIENT_Q
    assert "0.050 1/Å apart" in estimate.reason


def counted_in_steps(simulator: NanocrystalSimulator, step: float, seed: int) -> Pattern:
    """A few nanocrystals of 3 nm in a liquid, counted 2000 times a point, in steps as wide."""
    mean = 0.15 * simulator.intensity(3.0, 0.12) + 0.85 * liquid_background(
        Q, np.random.default_rng(0)
    )
    points = round(step / PUBLISHED_GRID.step)
    size = Q.size // points * points
    q, smooth = (a[:size].reshape(-1, points).mean(axis=1) for a in (Q, mean))
    counts = np.random.default_rng(seed).poisson(2000.0 * smooth / smooth.mean())
    return resample(RawPattern(q, counts.astype(float)))


def test_intervals_of_faint_patterns_in_coarse_steps_mostly_hold(
    sizer: NetworkSizer, simulator: NanocrystalSimulator
):
    patterns = [counted_in_steps(simulator, 0.0504, seed) for seed in range(12)]
    truth, _ = simulator.averages(3.0, 0.12)
    intervals = [sized.estimate.interval_nm for sized in sizer.size(patterns)]
    held = [low <= truth <= high for low, high in (i for i in intervals if i is not None)]
    assert len(held) >= 10
    assert sum(held) >= len(held) - 2


def test_small_angles_in_the_same_file_do_not_change_a_size(sizer: NetworkSizer, make: MakePattern):
    coarse = make(8.0, counts=20000.0)
    size = Q.size // 4 * 4
    q, values = (a[:size].reshape(-1, 4).mean(axis=1) for a in (Q, coarse.intensity))
    fine = np.arange(0.005, 0.9, 0.0005)
    merged = RawPattern(np.concatenate([fine, q]), np.concatenate([values[0] / fine, values]))
    alone, both = sizer.size([resample(RawPattern(q, values)), resample(merged)])
    assert alone.estimate.diameter_nm == pytest.approx(8.0, abs=0.2)
    assert both.estimate.interval_nm == pytest.approx(alone.estimate.interval_nm, abs=1e-3)


def test_arrays_that_do_not_fit_their_grid_are_bad_frames(sizer: NetworkSizer):
    odd = Pattern(np.ones(7), np.ones(7), np.ones(7))
    assert sizer.size([odd])[0].estimate.verdict is Verdict.BAD_FRAME


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    coarse=arrays.arrays(np.float64, 60, elements=st.floats(allow_nan=True, allow_infinity=True)),
    covered=arrays.arrays(np.float64, 60, elements=st.sampled_from([0.0, 1.0])),
)
def test_no_numbers_make_it_raise(sizer: NetworkSizer, coarse: np.ndarray, covered: np.ndarray):
    index = np.arange(Q.size) * 60 // Q.size
    answer = sizer.size([pattern_of(coarse[index], covered[index])])[0]
    estimate = answer.estimate
    assert (estimate.verdict is Verdict.SIZED) == (estimate.diameter_nm is not None)


def test_the_model_names_itself(sizer: NetworkSizer):
    assert (sizer.model_name, len(sizer.model_sha256)) == ("pbs", 64)
    assert sizer.model_version


def test_a_missing_model_is_fatal_in_one_line(tmp_path: Path):
    with pytest.raises(Fatal, match="qd-train build"):
        open_sizer(SizerSettings(model=tmp_path / "none"))


def test_the_door_does_not_load_torch():
    code = "import sys, qd_agent.inference; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
