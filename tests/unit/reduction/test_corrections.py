"""Darks and monitors."""

import math

import numpy as np
import pytest

from qd_agent.core.errors import BadFrame
from qd_agent.reduction.corrections import RUNS_KEPT, DarkStream, dark_of, hot_pixels, monitor_of

VALID = np.zeros((2, 3), dtype=bool)


def test_the_dark_is_the_mean_and_its_variance_shrinks_with_the_frames():
    stream = DarkStream()
    for counts in (4.0, 6.0):
        stream.add("u", np.full((2, 3), counts), VALID)
    dark = stream.dark("u")
    assert dark is not None
    assert (dark.mean == 5.0).all()
    assert (dark.variance == 2.5).all()
    assert not dark.left_out.any()


def test_the_variance_is_that_of_counting():
    rng = np.random.default_rng(5)
    counts = rng.poisson(7.0, (4, 200, 200)).astype(float)
    dark = dark_of(counts.sum(axis=0), np.full((200, 200), 4, dtype=np.uint32), without_hot=True)
    assert dark.variance.mean() == pytest.approx(dark.mean.var(), rel=0.05)


def test_a_pixel_counts_in_the_dark_frames_that_have_it():
    stream = DarkStream()
    bad = VALID.copy()
    bad[0, 0] = bad[1, 1] = True
    stream.add("u", np.full((2, 3), 4.0), bad)
    bad[1, 1] = False
    stream.add("u", np.full((2, 3), 8.0), bad)
    dark = stream.dark("u")
    assert dark is not None
    assert dark.mean.tolist() == [[0, 6, 6], [6, 8, 6]]
    assert np.argwhere(dark.left_out).tolist() == [[0, 0]]


def test_hot_pixels_are_left_out_of_the_dark():
    rng = np.random.default_rng(6)
    total = rng.poisson(3.0, (100, 100)).astype(float)
    total[5, 5], total[6, 6] = 1e5, 60.0
    frames = np.ones((100, 100), dtype=np.uint32)
    dark = dark_of(total, frames, without_hot=True)
    assert np.argwhere(dark.left_out).tolist() == [[5, 5], [6, 6]]
    assert not dark_of(total, frames, without_hot=False).left_out.any()


@pytest.mark.parametrize("spread", [0.0, 30.0])
def test_an_even_or_a_sloping_dark_has_no_hot_pixels(spread: float):
    ramp = 1000.0 + spread * np.linspace(-1, 1, 10_000).reshape(100, 100)
    assert not hot_pixels(ramp, np.ones((100, 100), dtype=bool)).any()
    assert not hot_pixels(ramp, np.zeros((100, 100), dtype=bool)).any()


def test_the_hash_names_the_mean_and_changes_with_it():
    stream = DarkStream()
    stream.add("u", np.full((2, 3), 4.0), VALID)
    first = stream.dark("u")
    assert stream.dark("u") is first
    stream.add("u", np.full((2, 3), 4.0), VALID)
    second = stream.dark("u")
    stream.add("u", np.full((2, 3), 9.0), VALID)
    third = stream.dark("u")
    assert first is not None
    assert second is not None
    assert third is not None
    assert first.sha256 == second.sha256 != third.sha256


def test_runs_are_apart_and_can_be_forgotten():
    stream = DarkStream()
    stream.add("a", np.ones((2, 3)), VALID)
    assert stream.dark("b") is None
    stream.forget("a")
    stream.forget("never seen")
    assert stream.dark("a") is None


def test_a_run_that_never_stops_is_let_go_in_the_end():
    stream = DarkStream()
    for number in range(RUNS_KEPT + 1):
        stream.add(str(number), np.ones((2, 3)), VALID)
    assert stream.dark("0") is None
    assert stream.dark("1") is not None


def test_a_dark_of_another_shape_is_refused():
    stream = DarkStream()
    stream.add("u", np.ones((2, 3)), VALID)
    with pytest.raises(BadFrame, match=r"\(3, 2\).*\(2, 3\)"):
        stream.add("u", np.ones((3, 2)), VALID.T)


def test_the_monitor_is_the_named_reading():
    assert monitor_of({"i0": 5.0}, "i0") == 5.0
    assert monitor_of({"i0": 5.0}, None) is None
    assert monitor_of({"i1": 5.0}, "i0") is None


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, -math.inf])
def test_a_monitor_that_cannot_divide_is_refused(value: float):
    with pytest.raises(BadFrame, match="monitor 'i0' reads"):
        monitor_of({"i0": value}, "i0")
