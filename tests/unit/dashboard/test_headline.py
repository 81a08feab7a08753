"""What the top of the page claims, and what it must not claim."""

from dataclasses import replace

import numpy as np
import pytest

from qd_agent.dashboard.growth import growth_of
from qd_agent.dashboard.headline import headline_of
from qd_agent.dashboard.records import FrameRow
from tests.unit.dashboard.rows import growing, row, without_size


def test_steady_growth_gives_its_rate_with_an_interval_around_it():
    growth = growth_of(growing(20, per_minute=6.0))
    assert growth is not None
    assert growth.trend == "growing"
    assert growth.low < 6.0 < growth.high
    assert growth.rate == pytest.approx(6.0)
    assert growth.frames == 15
    assert growth.span_s == pytest.approx(14.0)


def test_the_interval_of_the_rate_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(400):
        rows = [replace(r, diameter=r.diameter + rng.normal(0, 0.03)) for r in growing(15, 2.0)]
        growth = growth_of(rows)
        assert growth is not None
        held += growth.low <= 2.0 <= growth.high
    assert 0.88 <= held / 400 <= 1.0


def test_frames_that_scatter_more_than_they_say_widen_the_interval():
    rng = np.random.default_rng(5)
    calm = growing(15, 2.0, sd=0.01)
    wild = [replace(r, diameter=r.diameter + rng.normal(0, 0.2)) for r in calm]
    first, second = growth_of(calm), growth_of(wild)
    assert first is not None
    assert second is not None
    assert second.high - second.low > 5 * (first.high - first.low)


def test_too_few_sizes_give_no_rate():
    assert growth_of(growing(4, 6.0)) is None
    assert growth_of([]) is None
    assert growth_of([row(1), *[without_size(n) for n in range(2, 30)]]) is None


def test_frames_of_one_moment_give_no_rate():
    assert growth_of([replace(r, time=1.7e9) for r in growing(10, 6.0)]) is None


def test_frames_without_a_size_do_not_count_for_the_rate():
    rows = growing(20, 6.0)
    mixed = [r for pair in zip(rows, map(without_size, range(100, 120)), strict=True) for r in pair]
    assert growth_of(mixed) == growth_of(rows)


@pytest.mark.parametrize(
    ("rows", "state"),
    [
        ([], "waiting"),
        ([without_size(1, "no_nanocrystals")], "no_nanocrystals"),
        ([*growing(20, 6.0), without_size(50, "out_of_domain")], "refused"),
        ([*growing(20, 6.0), without_size(50, "insufficient_q")], "refused"),
        ([*growing(20, 6.0), without_size(50, "bad_frame")], "refused"),
        (growing(20, 6.0), "growing"),
        (growing(20, -6.0), "shrinking"),
        (growing(20, 0.01), "plateau"),
        (growing(20, 0.01, sd=0.6), "sized"),
        (growing(2, 6.0), "sized"),
        ([without_size(1, "no_nanocrystals"), *growing(3, 6.0, start=2)], "nucleating"),
        ([without_size(1, "no_nanocrystals"), *growing(20, 6.0, start=2)], "growing"),
    ],
)
def test_the_state_is_what_the_frames_allow(rows: list[FrameRow], state: str):
    assert headline_of(rows).state == state


def test_nanocrystals_that_hardly_scatter_yet_are_nucleating():
    rows = [replace(r, share=0.02) for r in growing(8, 6.0, start=2)]
    assert headline_of([without_size(1, "no_nanocrystals"), *rows]).state == "nucleating"
    assert headline_of(rows).state == "growing", "a run that begins with them has not nucleated"


def test_a_frame_without_a_size_leaves_no_number_standing():
    shown = headline_of([*growing(20, 6.0), without_size(50)], target=9.0)
    assert shown.newest is not None
    assert shown.newest.diameter is None
    assert shown.reason == "the cell is empty"
    assert shown.growth is None
    assert shown.target is None
    assert shown.sized is not None
    assert shown.sized.seq_num == 20, "the last size is named as what it is"


def test_the_time_to_the_target_has_bounds_and_needs_growth():
    target = headline_of(growing(20, 6.0), target=7.0).target
    assert target is not None
    assert target.status == "ahead"
    assert target.minutes is not None
    assert target.low is not None
    assert target.high is not None
    left = (7.0 - (3.0 + 6.0 * 19 / 60)) / 6.0
    assert target.low < left < target.high
    assert target.minutes == pytest.approx(left, rel=1e-6)


@pytest.mark.parametrize(
    ("rows", "target", "status"),
    [
        (growing(20, 0.01), 7.0, "not growing"),
        (growing(20, -6.0), 7.0, "not growing"),
        (growing(3, 6.0), 7.0, "not growing"),
        (growing(20, 6.0), 3.0, "reached"),
        (growing(20, 6.0), 4.9, "near"),
        (growing(20, 6.0), 90.0, "far"),
    ],
)
def test_no_time_is_given_where_there_is_no_ground_for_one(
    rows: list[FrameRow], target: float, status: str
):
    found = headline_of(rows, target).target
    assert found is not None
    assert found.status == status
    assert found.minutes is None


def test_another_detector_does_not_mix_into_the_rate():
    other = [replace(r, data_key="other", time=r.time + 0.5) for r in growing(20, -50.0)]
    rows = sorted([*growing(20, 6.0), *other], key=lambda r: r.time)
    newest = headline_of(rows)
    assert newest.newest is not None
    assert newest.newest.data_key == "other"
    assert newest.state == "shrinking"
    assert headline_of(rows[:-1]).state == "growing"


def test_age_turns_the_number_stale_and_then_old_by_the_usual_period():
    quick, slow = headline_of(growing(20, 6.0)), headline_of([row(60 * n) for n in range(1, 9)])
    assert (quick.stale_after_s, quick.old_after_s) == (5.0, 30.0)
    assert (slow.stale_after_s, slow.old_after_s) == (240.0, 1200.0)
    last = 1.7e9 + 20
    assert [quick.freshness(last + age)[0] for age in (0, 5, 6, 30, 31)] == [
        "fresh",
        "fresh",
        "stale",
        "stale",
        "old",
    ]
    assert quick.freshness(last - 3) == ("fresh", 0.0), "a clock that is behind"
    assert headline_of([]).freshness(last) == ("none", None)
