"""A beam centre that is off is seen from opposite sectors, and nothing else is taken for one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from qd_agent.core.errors import Lacking
from qd_agent.core.frame import Frame
from qd_agent.core.pattern import Pattern
from qd_agent.reduction import ReductionSettings, open_reducer
from qd_agent.reduction.centring import OFF_CENTRE, TOO_FAR, CentreShift
from qd_agent.reduction.reducer import AzimuthalReducer

SIDE, PIXEL, DISTANCE, WAVELENGTH = 600, 300e-6, 0.25, 0.30
A_PIXEL = 2 * np.pi / WAVELENGTH * PIXEL / DISTANCE  # near the beam, 1/Å: 0.0251
MIDDLE = SIDE / 2

MakeFrame = Callable[..., Frame]
Open = Callable[..., AzimuthalReducer]

REFLECTIONS = (
    *((1.831, 1.0), (2.116, 1.5), (2.993, 1.1), (3.510, 0.6), (3.666, 0.4)),
    *((4.234, 0.2), (4.613, 0.3), (4.732, 0.6), (5.184, 0.4), (5.499, 0.3), (5.988, 0.3)),
)
"""Of PbS: Q in 1/Å, and roughly their heights."""


def _peaks(q: np.ndarray, size_nm: float, heights: list[np.ndarray] | None = None) -> np.ndarray:
    """Peaks as wide as nanocrystals of a size make them, each by its own height where given."""
    spread = 2 * np.pi * 0.9 / (10 * size_nm) / 2.355
    total = np.zeros_like(q)
    for n, (place, height) in enumerate(REFLECTIONS):
        peak = height * np.exp(-0.5 * ((q - place) / spread) ** 2)
        total += peak if heights is None else peak * heights[n]
    return total


def _liquid(q: np.ndarray) -> np.ndarray:
    return 1.0 + 1.5 * np.exp(-0.5 * ((q - 1.4) / 0.25) ** 2) + np.exp(-0.5 * ((q - 3) / 1.0) ** 2)


def _q_and_azimuth(row: float, column: float) -> tuple[np.ndarray, np.ndarray]:
    """Q and azimuth of every pixel of a flat detector, for a beam at (row, column) in pixels."""
    y = (np.arange(SIDE) + 0.5 - row)[:, np.newaxis]
    x = (np.arange(SIDE) + 0.5 - column)[np.newaxis, :]
    two_theta = np.arctan2(np.hypot(x, y) * PIXEL, DISTANCE)
    return 4 * np.pi * np.sin(two_theta / 2) / WAVELENGTH, np.arctan2(y, x)


def counted(
    size_nm: float | None = 5.0,
    mean: float = 100.0,
    beam: tuple[float, float] = (MIDDLE, MIDDLE),
    seed: int = 0,
    changed: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """Count an image of nanocrystals in a liquid, or (None) of the liquid alone.

    Args:
        size_nm: of the nanocrystals.
        mean: counts of a pixel of the liquid far out.
        beam: where it is (row, column).
        seed: of the noise.
        changed: makes of the expected image, Q and azimuth another image.
    """
    q, azimuth = _q_and_azimuth(*beam)
    image = _liquid(q) + (0.0 if size_nm is None else _peaks(q, size_nm))
    if changed is not None:
        image = changed(image, q, azimuth)
    return np.random.default_rng(seed).poisson(mean * image).astype(np.uint32)


@pytest.fixture
def at(tmp_path: Path) -> Open:
    """Open a reducer whose PONI has the beam at (row, column)."""

    def make(row: float = MIDDLE, column: float = MIDDLE, **changes: object) -> AzimuthalReducer:
        path = tmp_path / "flat.poni"
        path.write_text(
            'poni_version: 2\nDetector: Detector\nDetector_config: {"pixel1": '
            f'{PIXEL}, "pixel2": {PIXEL}, "max_shape": [{SIDE}, {SIDE}]}}\nDistance: {DISTANCE}\n'
            f"Poni1: {row * PIXEL}\nPoni2: {column * PIXEL}\nRot1: 0\nRot2: 0\nRot3: 0\n"
            f"Wavelength: {WAVELENGTH * 1e-10}\n"
        )
        given = {"poni": path, "dark": "none", "solid_angle": False, "polarization_factor": None}
        return open_reducer(ReductionSettings.model_validate(given | changes))

    return make


def refusal(reducer: AzimuthalReducer, frame: Frame) -> str:
    with pytest.raises(Lacking) as caught:
        reducer.check_whole(frame.reference, reducer.reduce(frame), dark_announced=False)
    assert "off_centre" in caught.value.flags
    return str(caught.value)


def shift(pattern: Pattern) -> tuple[float, float]:
    return pattern.quality["centre_shift"], pattern.quality["centre_shift_error"]


@pytest.mark.parametrize("size_nm", [3.0, 5.0, 10.0])
def test_a_right_centre_is_zero_within_its_error_and_nothing_is_flagged(
    at: Open, frame: MakeFrame, size_nm: float
):
    reducer = at()
    pulls: list[float] = []
    for seed in range(6):
        pattern = reducer.reduce(frame(counted(size_nm, seed=seed)))
        assert pattern.flags == ()
        size, error = shift(pattern)
        assert error < 0.0005
        pulls.append(size / error)
    assert max(pulls) < 4.5
    assert np.mean(pulls) < 2.0  # two axes: 1.25


@pytest.mark.parametrize("size_nm", [3.0, 8.0])
@pytest.mark.parametrize(
    ("pixels", "direction"),
    [(0.25, (0.0, 1.0)), (1.0, (0.6, -0.8)), (4.0, (-1.0, 0.0)), (10.0, (0.6, 0.8))],
)
def test_a_shift_is_measured_in_every_direction_from_a_quarter_to_ten_pixels(
    at: Open, frame: MakeFrame, direction: tuple[float, float], pixels: float, size_nm: float
):
    row, column = (MIDDLE + pixels * part for part in direction)
    pattern = at(row, column).reduce(frame(counted(size_nm)))
    size, error = shift(pattern)
    expected = pixels * A_PIXEL  # less at large angles
    assert 0.88 * expected - 4 * error < size < 1.01 * expected + 4 * error
    assert size > 10 * error
    assert pattern.flags == ("off_centre",)


def test_a_pixel_is_flagged_and_sized_where_the_configuration_only_wants_flags(
    at: Open, frame: MakeFrame
):
    reducer = at(column=MIDDLE + 1, set_aside=[])
    taken = frame(counted())
    pattern = reducer.reduce(taken)
    assert pattern.flags == ("off_centre",)
    reducer.check_whole(taken.reference, pattern, dark_announced=False)


def test_a_quarter_of_a_pixel_is_flagged_and_no_reason_to_give_no_size(at: Open, frame: MakeFrame):
    reducer, taken = at(column=MIDDLE + 0.25), frame(counted())
    pattern = reducer.reduce(taken)
    assert OFF_CENTRE < shift(pattern)[0] < TOO_FAR
    assert pattern.flags == ("off_centre",)
    reducer.check_whole(taken.reference, pattern, dark_announced=False)


@pytest.mark.parametrize("size_nm", [3.0, 5.0, 8.0])
def test_four_pixels_give_no_size_but_a_reason_that_names_the_poni(
    at: Open, frame: MakeFrame, size_nm: float
):
    message = refusal(at(row=MIDDLE + 4), frame(counted(size_nm)))
    assert "beam centre is off by 0.0" in message
    assert "calibrate the PONI anew" in message
    assert "reduction.orientation" in message
    assert message.endswith("take off_centre out of reduction.set_aside")


@pytest.mark.parametrize("wrong", ["flip_rows", "rotate_180"])
def test_a_wrong_orientation_gives_no_size_on_a_nearly_centred_detector(
    at: Open, frame: MakeFrame, wrong: str
):
    beam = (MIDDLE + 2, MIDDLE + 0.1)
    image = counted(beam=beam)
    assert at(*beam).reduce(frame(image)).flags == ()
    assert "reduction.orientation" in refusal(at(*beam, orientation=wrong), frame(image))


def test_a_turned_image_has_its_shift_as_well(at: Open, frame: MakeFrame):
    turned = counted()[::-1]
    assert at(orientation="flip_rows").reduce(frame(turned)).flags == ()
    off = at(column=MIDDLE + 1, orientation="flip_rows").reduce(frame(turned))
    assert shift(off)[0] == pytest.approx(A_PIXEL, rel=0.1)


@pytest.mark.parametrize("splitting", ["bbox", "full"])
def test_shared_pixels_tell_the_same(at: Open, frame: MakeFrame, splitting: str):
    image = frame(counted())
    assert at(pixel_splitting=splitting).reduce(image).flags == ()
    off = at(column=MIDDLE + 1, pixel_splitting=splitting).reduce(image)
    assert shift(off)[0] == pytest.approx(A_PIXEL, rel=0.1)


def test_a_beam_near_a_corner_says_nothing(at: Open, frame: MakeFrame):
    beam = (60.0, 60.0)
    image = frame(counted(beam=beam))
    assert "centre_shift" not in at(*beam).reduce(image).quality
    off = at(beam[0], beam[1] + 4).reduce(image)
    assert off.flags == ()
    assert "centre_shift" not in off.quality


def test_a_masked_half_hides_one_axis_and_the_other_is_still_told(
    at: Open, frame: MakeFrame, tmp_path: Path
):
    mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
    mask[:, 300:] = 1
    np.save(tmp_path / "mask.npy", mask)
    image = frame(counted())
    across = at(column=MIDDLE + 4, mask=tmp_path / "mask.npy").reduce(image)
    assert across.flags == ()
    along = at(row=MIDDLE + 1, mask=tmp_path / "mask.npy").reduce(image)
    assert along.flags == ("off_centre",)
    assert shift(along)[0] == pytest.approx(A_PIXEL, rel=0.1)


def test_three_masked_quarters_say_nothing(at: Open, frame: MakeFrame, tmp_path: Path):
    mask = np.ones((SIDE, SIDE), dtype=np.uint8)
    mask[:300, :300] = 0
    np.save(tmp_path / "mask.npy", mask)
    for off in (0, 4):
        reducer = at(row=MIDDLE + off, mask=tmp_path / "mask.npy")
        assert reducer.reduce(frame(counted())).quality == {}


@pytest.mark.parametrize("pixels", [0.0, 2.0])
def test_gaps_dead_pixels_and_a_beam_stop_with_its_arm_change_nothing(
    at: Open, frame: MakeFrame, pixels: float
):
    image = counted().astype(float)
    image[195:212] = image[407:424] = image[:, 240:247] = np.nan
    image[:300, 296:304] = image[280:320, 280:320] = np.nan
    image[np.random.default_rng(3).random(image.shape) < 0.02] = np.nan
    pattern = at(row=MIDDLE + pixels).reduce(frame(image))
    size, error = shift(pattern)
    assert size == pytest.approx(pixels * A_PIXEL, rel=0.1, abs=4.5 * error)
    assert bool(pattern.flags) is bool(pixels)


@pytest.mark.parametrize("mean", [100.0, 10_000.0])
@pytest.mark.parametrize("size_nm", [3.0, 5.0, 8.0])
def test_a_textured_film_is_not_flagged(at: Open, frame: MakeFrame, size_nm: float, mean: float):
    def textured(image: np.ndarray, q: np.ndarray, azimuth: np.ndarray) -> np.ndarray:
        turns = np.random.default_rng(7).uniform(0, 2 * np.pi, (len(REFLECTIONS), 2))
        heights = [
            1 + 0.6 * np.cos(2 * (azimuth - even)) + 0.1 * np.cos(azimuth - odd)
            for even, odd in turns
        ]
        return _liquid(q) + _peaks(q, size_nm, heights)

    image = frame(counted(size_nm, mean, changed=textured))
    assert at().reduce(image).flags == ()
    off = at(column=MIDDLE + 2).reduce(image)
    assert off.flags == ("off_centre",)
    assert shift(off)[0] == pytest.approx(2 * A_PIXEL, rel=0.2)


@pytest.mark.parametrize("mean", [100.0, 10_000.0])
def test_strong_smooth_gradients_and_stray_light_are_not_flagged(
    at: Open, frame: MakeFrame, mean: float
):
    def uneven(image: np.ndarray, q: np.ndarray, azimuth: np.ndarray) -> np.ndarray:
        absorbed = np.exp(0.5 * np.cos(azimuth - 0.4) * np.minimum(q, 7) / 5)
        stray = 0.5 * np.exp(-q / 3) * (1 + np.cos(azimuth + 1))
        return image * absorbed * (1 - 0.3 * np.sin(azimuth) ** 2) + stray

    pattern = at().reduce(frame(counted(5.0, mean, changed=uneven)))
    assert pattern.flags == ()
    assert shift(pattern)[0] < OFF_CENTRE


def test_the_spots_of_a_substrate_are_not_flagged(at: Open, frame: MakeFrame):
    image = counted()
    for row, column in ((300, 420), (390, 300), (300, 195), (250, 380)):
        image[row : row + 4, column : column + 4] += 3000
    pattern = at().reduce(frame(image))
    assert pattern.flags == ()


@pytest.mark.parametrize("off", [0.0, 1.0])
@pytest.mark.parametrize("mean", [1.0, 100.0])
def test_a_liquid_alone_says_nothing(at: Open, frame: MakeFrame, mean: float, off: float):
    pattern = at(row=MIDDLE + off).reduce(frame(counted(None, mean)))
    assert pattern.flags == ()
    assert "centre_shift" not in pattern.quality


def test_few_counts_say_nothing(at: Open, frame: MakeFrame):
    reducer = at()
    for seed in range(10):
        pattern = reducer.reduce(frame(counted(5.0, 0.01, seed=seed)))
        assert pattern.flags == ()
        assert "centre_shift" not in pattern.quality


def test_few_bins_say_nothing(at: Open, frame: MakeFrame):
    assert at(column=MIDDLE + 4, q_points=500).reduce(frame(counted())).quality == {}


@pytest.mark.parametrize(
    "image",
    [np.full((SIDE, SIDE), 1e29), np.eye(SIDE), np.tri(SIDE)],
    ids=["huge", "a line", "a half"],
)
def test_odd_images_say_nothing(at: Open, frame: MakeFrame, image: np.ndarray):
    assert at().reduce(frame(image)).flags == ()


def test_what_is_small_or_not_certain_is_not_flagged():
    assert CentreShift(0.0149, 0.003).flags == ()
    assert CentreShift(0.0029, 0.0001).flags == ()
    assert CentreShift(0.0031, 0.0001).flags == ("off_centre",)
