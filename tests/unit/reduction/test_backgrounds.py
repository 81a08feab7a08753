"""A background run is subtracted where one is known, and never made worse than doing without."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qd_agent.core.errors import BadFrame
from qd_agent.core.frame import Declared, Frame, FrameReference, InlineLocation
from qd_agent.reduction import ReductionSettings, StripSettings, open_reducers
from qd_agent.reduction.backgrounds import RUNS_KEPT
from tests.unit.reduction.conftest import SHAPE

DAY = 86_400.0
Images = Callable[..., np.ndarray]
MakeFrame = Callable[..., Frame]


def liquid(mean: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).poisson(mean, SHAPE).astype(np.uint32)


def naming(frame: Frame, dark: str = "", background: str = "", when: float = 0.0) -> Frame:
    declared = Declared(dark_run=dark, background_run=background)
    return replace(frame, reference=replace(frame.reference, declared=declared, time=when))


@pytest.fixture
def opened(poni: Path):
    def open_one(**settings: object):
        return open_reducers(ReductionSettings(poni=poni, dark="none", **settings), {})

    return open_one


def test_what_is_left_is_the_pattern_without_its_liquid(
    opened, frame: MakeFrame, scattering: Images
):
    reducers = opened(monitor_key="monitor")
    pure = reducers.reduce(frame(scattering(400.0), monitor=1.0))
    both = scattering(400.0) + liquid(900.0, 1)
    shots = ((2, 1.0), (3, 3.0))
    empty = [frame(liquid(900.0 * m, seed), run="empty", monitor=m) for seed, m in shots]
    assert reducers.add_background(iter(empty), empty[0].reference.key) == []
    alone = reducers.reduce(frame(both, monitor=1.0))
    less = reducers.reduce(naming(frame(both, monitor=1.0), background="empty", when=60.0))
    measured = less.coverage > 0
    residual = (less.intensity - pure.intensity)[measured] / less.sigma[measured]
    assert abs(residual.mean()) < 0.1
    assert np.abs(less.intensity - pure.intensity).sum() < 0.3 * (
        np.abs(alone.intensity - pure.intensity).sum()
    )
    assert less.quality["background_age_s"] == 60.0
    assert "background_age_s" not in alone.quality
    assert not {f for f in less.flags if f.startswith("background")}
    made = reducers.made_from(naming(frame(both), background="empty").reference)
    assert len(made["background_hash"]) == 64
    assert reducers.made_from(frame(both).reference)["background_hash"] == ""


def test_the_scatter_that_remains_is_what_sigma_says(opened, frame: MakeFrame):
    """Of a liquid on a smooth signal, many times: the spread of each point against its sigma."""
    reducers = opened()
    background = frame(liquid(300.0, 0), run="empty")
    reducers.add_background(iter([background]), background.reference.key)
    patterns = [
        reducers.reduce(naming(frame(liquid(500.0, seed)), background="empty"))
        for seed in range(1, 21)
    ]
    measured = patterns[0].coverage > 0
    values = np.stack([p.intensity[measured] for p in patterns])
    sigma = np.median(np.stack([p.sigma[measured] for p in patterns]), axis=0)
    # The background is the same in all of them: only the frames' own counts (5 of 8) vary.
    ratio = values.std(axis=0, ddof=1) / (sigma * np.sqrt(500.0 / 800.0))
    assert 0.9 < np.median(ratio) < 1.1


@pytest.mark.parametrize(
    ("mean", "why"), [(900.0, "as much as the frame"), (2000.0, "more than the frame")]
)
def test_a_background_that_leaves_nothing_is_not_subtracted(
    opened, frame: MakeFrame, mean: float, why: str
):
    reducers = opened()
    background = frame(liquid(mean, 1), run="empty")
    reducers.add_background(iter([background]), background.reference.key)
    solvent = frame(liquid(900.0, 2))
    judged = reducers.reduce(naming(solvent, background="empty"))
    assert "background_not_subtracted" in judged.flags, why
    np.testing.assert_array_equal(judged.intensity, reducers.reduce(solvent).intensity)


def test_a_background_that_is_not_there_or_old_is_flagged(
    opened, frame: MakeFrame, scattering: Images
):
    reducers = opened(background_max_age_s=DAY)
    named = naming(frame(scattering()), background="empty")
    assert "background_missing" in reducers.reduce(named).flags
    background = frame(liquid(5.0, 1), run="empty")
    reducers.add_background(iter([background]), background.reference.key)
    assert reducers.reduce(naming(named, background="empty", when=DAY)).flags == ()
    late = reducers.reduce(naming(named, background="empty", when=DAY + 1))
    assert late.flags == ("background_stale",)
    before = reducers.reduce(naming(named, background="empty", when=-DAY - 1))
    assert before.flags == ("background_stale",)
    reducers.forget_run("empty")
    assert "background_missing" in reducers.reduce(named).flags


def test_a_background_is_scaled_as_the_settings_say(opened, frame: MakeFrame, scattering: Images):
    half = opened(background_scale=0.5)
    whole = opened()
    for reducers, mean in ((half, 60.0), (whole, 30.0)):
        image = np.full(SHAPE, mean, dtype=np.float64)
        background = frame(image, run="empty")
        reducers.add_background(iter([background]), background.reference.key)
    named = naming(frame(scattering(100.0)), background="empty")
    np.testing.assert_allclose(half.reduce(named).intensity, whole.reduce(named).intensity)


def test_with_background_none_the_run_that_is_named_does_not_count(
    opened, frame: MakeFrame, scattering: Images
):
    reducers = opened(background="none")
    named = naming(frame(scattering()), background="empty")
    assert reducers.wants(named.reference) == ("", "")
    assert reducers.reduce(named).flags == ()


def test_frames_that_cannot_be_used_are_named_and_the_others_taken(
    opened, frame: MakeFrame, scattering: Images
):
    reducers = opened()
    good = frame(liquid(20.0, 1), run="empty")
    bad = frame(np.ones((3, 3), dtype=np.uint32), run="empty")
    (reason,) = reducers.add_background(iter([bad, good]), good.reference.key)
    assert "has shape (3, 3)" in reason
    assert reducers.reduce(naming(frame(scattering()), background="empty")).flags == ()
    with pytest.raises(BadFrame, match=r"has shape \(3, 3\)"):
        reducers.add_background(iter([bad]), good.reference.key)
    with pytest.raises(BadFrame, match="no frame of this detector"):
        reducers.add_background(iter([]), good.reference.key)


def test_only_the_latest_few_backgrounds_are_held(opened, frame: MakeFrame, scattering: Images):
    reducers = opened()
    for number in range(RUNS_KEPT + 1):
        background = frame(liquid(5.0, number), run=f"empty-{number}")
        reducers.add_background(iter([background]), background.reference.key)
    flags = [
        reducers.reduce(naming(frame(scattering()), background=f"empty-{number}")).flags
        for number in (0, 1, RUNS_KEPT)
    ]
    assert flags == [("background_missing",), (), ()]


def test_a_background_has_its_own_dark_and_a_dark_run_serves_several(
    poni: Path, frame: MakeFrame, scattering: Images
):
    reducers = open_reducers(ReductionSettings(poni=poni), {})
    clean = open_reducers(ReductionSettings(poni=poni, dark="none"), {})
    ramp = np.arange(SHAPE[0] * SHAPE[1]).reshape(SHAPE).astype(np.float64) % 7
    reducers.add_dark(frame(ramp, run="dark-1"), "named")
    empty, sample = np.full(SHAPE, 30.0), scattering(100.0).astype(np.float64)
    background = naming(frame(empty + ramp, run="empty"), dark="dark-1")
    reducers.add_background(iter([background]), background.reference.key)
    named = naming(frame(sample + ramp), dark="dark-1", background="empty", when=30.0)
    plain = frame(empty, run="empty")
    clean.add_background(iter([plain]), plain.reference.key)
    expected = clean.reduce(naming(frame(sample), background="empty"))
    got = reducers.reduce(named)
    np.testing.assert_allclose(got.intensity, expected.intensity, rtol=1e-9, atol=1e-9)
    assert got.quality["dark_age_s"] == 30.0
    assert got.flags == ()
    # Its own dark frames go before the dark run that it names.
    reducers.add_dark(frame(np.zeros(SHAPE), run="u"))
    assert (
        reducers.made_from(named.reference)["dark_hash"]
        != (
            reducers.made_from(naming(frame(sample, run="v"), dark="dark-1").reference)["dark_hash"]
        )
    )


def test_a_strip_has_its_background_too(tmp_path: Path):
    np.save(tmp_path / "axis.npy", np.linspace(1.0, 12.0, 2000))
    settings = StripSettings(axis=tmp_path / "axis.npy", unit="q_A^-1", dark="none")
    reducers = open_reducers(None, {"det_image": settings})
    hill = 500.0 * np.exp(-((np.linspace(1.0, 12.0, 2000) - 3.0) ** 2))

    def strip(values: np.ndarray, run: str, **declared: str) -> Frame:
        from qd_agent.core.frame import FrameKey

        key = FrameKey(run_uid=run, stream="primary", data_key="det_image", seq_num=1)
        reference = FrameReference(
            key, 0.0, InlineLocation(), values.shape, declared=Declared(**declared)
        )
        return Frame(reference, values)

    background = strip(np.full(2000, 200.0), "empty")
    reducers.add_background(iter([background]), background.reference.key)
    less = reducers.reduce(strip(hill + 200.0, "u", background_run="empty"))
    pure = reducers.reduce(strip(hill, "u"))
    np.testing.assert_allclose(less.intensity, pure.intensity, atol=1e-9)


@pytest.mark.parametrize("named", [True, False], ids=["of a dark run", "of its own run"])
def test_a_background_whose_dark_cannot_be_had_is_none(poni: Path, frame: MakeFrame, named: bool):
    reducers = open_reducers(ReductionSettings(poni=poni), {})
    background = naming(frame(liquid(30.0, 1), run="empty"), dark="dark-1" if named else "")
    with pytest.raises(BadFrame, match="its dark cannot be had"):
        reducers.add_background(iter([background]), background.reference.key, dark_announced=True)
    assert not reducers.keeps("empty", "det_image", "background")


def test_a_background_without_any_dark_that_was_told_of_is_taken(poni: Path, frame: MakeFrame):
    reducers = open_reducers(ReductionSettings(poni=poni), {})
    background = frame(liquid(30.0, 1), run="empty")
    key = background.reference.key
    assert reducers.add_background(iter([background]), key, dark_announced=False) == []


def test_a_background_whose_dark_is_too_old_is_none(poni: Path, frame: MakeFrame):
    reducers = open_reducers(ReductionSettings(poni=poni, dark_max_age_s=60.0), {})
    reducers.add_dark(frame(liquid(10.0, 2), run="dark-1"), "named")
    background = naming(frame(liquid(30.0, 1), run="empty"), dark="dark-1", when=61.0)
    with pytest.raises(BadFrame, match="its dark is 61 s old"):
        reducers.add_background(iter([background]), background.reference.key, dark_announced=True)


def test_background_frames_without_a_monitor_do_not_count_beside_those_with_one(
    opened, frame: MakeFrame, scattering: Images
):
    """The event of one of two frames was lost: by what is it to be divided?"""
    reducers, whole = opened(monitor_key="monitor"), opened(monitor_key="monitor")
    read, lost = frame(liquid(30.0, 1), run="empty", monitor=2e4), frame(liquid(30.0, 2), "empty")
    key = read.reference.key
    assert whole.add_background(iter([read]), key) == []
    for order in ([read, lost], [lost, read]):
        (reason,) = reducers.add_background(iter(order), key)
        assert "1 frames have no monitor, others have" in reason
        named = naming(frame(scattering(100.0), monitor=2e4), background="empty")
        np.testing.assert_array_equal(
            reducers.reduce(named).intensity, whole.reduce(named).intensity
        )


@pytest.mark.parametrize("sample", [{"monitor": 2e4}, {}], ids=["sample", "background"])
def test_a_background_is_not_subtracted_where_it_or_the_frame_alone_has_a_monitor(
    opened, frame: MakeFrame, scattering: Images, sample: dict[str, float]
):
    reducers = opened(monitor_key="monitor")
    background = frame(liquid(30.0, 1), run="empty", **({} if sample else {"monitor": 2e4}))
    reducers.add_background(iter([background]), background.reference.key)
    flags = reducers.reduce(naming(frame(scattering(100.0), **sample), background="empty")).flags
    assert "background_not_subtracted" in flags


def test_a_background_of_another_wavelength_is_none(opened, frame: MakeFrame):
    reducers = opened()
    background = frame(liquid(30.0, 1), run="empty")
    declared = Declared({"wavelength": 0.2}, "configuration.mono.wavelength")
    other = replace(background, reference=replace(background.reference, declared=declared))
    key = background.reference.key
    (reason,) = reducers.add_background(iter([other, background]), key)
    assert "the wavelength is 0.2 Å in configuration.mono.wavelength but 0.1839 Å" in reason
    with pytest.raises(BadFrame, match=r"the wavelength is 0\.2 Å"):
        reducers.add_background(iter([other]), key)
