"""Strip detectors, and several detectors with a geometry each."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from qd_agent.core.errors import BadFrame, Fatal
from qd_agent.core.frame import Declared, Frame, FrameKey, FrameReference, InlineLocation
from qd_agent.core.pattern import AREA, PUBLISHED_GRID, q_from_two_theta
from qd_agent.reduction import ReductionSettings, StripSettings, open_reducers

WAVELENGTH = 0.1839
TWO_THETA = 0.9 + 0.005 * np.arange(5120)
Q = q_from_two_theta(TWO_THETA, WAVELENGTH)


def strip(counts, run="u", data_key="mythen", when=0.0, **readings) -> Frame:
    counts = np.asarray(counts)
    key = FrameKey(run_uid=run, stream="primary", data_key=data_key, seq_num=1)
    reference = FrameReference(key, when, InlineLocation(), counts.shape, None, readings)
    return Frame(reference, counts)


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., StripSettings]:
    np.save(tmp_path / "axis.npy", TWO_THETA)

    def make(**more) -> StripSettings:
        return StripSettings(axis=tmp_path / "axis.npy", wavelength=WAVELENGTH, **more)

    return make


def opened(settings):
    return open_reducers(None, {"mythen": settings})


def bump(mean=3000.0, seed=3):
    shape = 1.0 + np.exp(-((Q - 4.0) ** 2) / 0.5)
    return np.random.default_rng(seed).poisson(mean * shape).astype(np.uint32)


def test_a_strip_comes_onto_the_grid_at_its_own_q(settings):
    pattern = opened(settings(dark="none")).reduce(strip(bump()))
    q = PUBLISHED_GRID.values()
    assert abs(q[np.argmax(np.convolve(pattern.intensity, np.ones(50), "same"))] - 4.0) < 0.05
    assert pattern.coverage.all()
    assert pattern.intensity.mean() * PUBLISHED_GRID.span == pytest.approx(AREA)
    smooth = 1.0 + np.exp(-((q - 4.0) ** 2) / 0.5)
    pull = (pattern.intensity / (smooth * pattern.intensity.mean() / smooth.mean()) - 1.0) / (
        pattern.sigma / pattern.intensity
    )
    assert 0.5 < np.mean(pull**2) < 1.2, "sigma is an upper bound between channels"


def test_an_axis_may_be_text_q_or_descending(settings, tmp_path):
    expected = opened(settings(dark="none")).reduce(strip(bump()))
    for unit, axis in (("q_A^-1", Q), ("q_nm^-1", 10.0 * Q), ("2th_deg", TWO_THETA)):
        for turned in (False, True):
            path = tmp_path / "axis.txt"
            np.savetxt(path, axis[::-1] if turned else axis, header="axis", fmt="%.12g")
            own = StripSettings(axis=path, unit=unit, wavelength=WAVELENGTH, dark="none")
            counts = bump()[::-1] if turned else bump()
            found = opened(own).reduce(strip(counts))
            np.testing.assert_allclose(found.intensity, expected.intensity, rtol=1e-6)


def test_dark_monitor_and_mask_are_taken_into_account(settings, tmp_path):
    mask = np.zeros(Q.size, dtype=np.uint8)
    mask[100:110] = 1
    np.save(tmp_path / "mask.npy", mask)
    reducers = opened(settings(mask=tmp_path / "mask.npy", monitor_key="monitor"))
    counts = bump().astype(np.int64)
    clean = reducers.reduce(strip(counts, run="other", monitor=1.0))
    assert clean.flags == ("dark_missing",)
    ramp = np.arange(Q.size) // 4
    reducers.add_dark(strip(ramp))
    broken = counts + ramp
    broken[100:110] = 2**31
    found = reducers.reduce(strip(broken, monitor=2.0))
    assert found.flags == ()
    np.testing.assert_allclose(found.intensity, clean.intensity, rtol=1e-6)
    assert reducers.reduce(strip(broken, when=20_000.0)).flags == ("dark_stale", "monitor_missing")
    assert len(reducers.made_from(strip(broken).reference)["dark_hash"]) == 64
    reducers.forget_run("u")
    assert reducers.made_from(strip(broken).reference)["dark_hash"] == ""


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        (np.zeros(5120, dtype=np.uint32), "no scattering"),
        (np.full(5120, -1, dtype=np.int32), "hold no count"),
        (np.full(5120, 1000, dtype=np.uint32), "are saturated"),
        (np.ones(5119, dtype=np.uint32), "5120 channels"),
        (np.ones((1, 5120), dtype=np.uint32), "5120 channels"),
        (np.ones(5120, dtype=np.complex64), "holds no counts"),
    ],
)
def test_what_is_no_pattern_is_refused(settings, counts, reason):
    with pytest.raises(BadFrame, match=reason):
        opened(settings(dark="none", saturation=1000)).reduce(strip(counts))


def test_values_that_are_no_counts_claim_no_uncertainty(settings):
    pattern = opened(settings(dark="none", counts=False)).reduce(strip(bump() / 1e4))
    assert not pattern.sigma.any()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no column of numbers"),
        (b"words\n", "no column of numbers"),
        (b"1\n2\n3\n", "at least 100"),
        (b"\n".join(b"%d" % (n % 50) for n in range(200)), "steadily"),
        (b"nan\n" * 200, "steadily"),
    ],
)
def test_an_axis_that_is_none_is_refused(tmp_path, content, reason):
    (tmp_path / "axis.txt").write_bytes(content)
    own = StripSettings(axis=tmp_path / "axis.txt", wavelength=1.0)
    with pytest.raises(Fatal, match=reason):
        opened(own)


def test_two_theta_needs_a_wavelength(tmp_path):
    with pytest.raises(ValidationError, match="needs a wavelength"):
        StripSettings(axis=tmp_path / "axis.npy")


def test_every_detector_has_its_own_geometry_and_darks(settings, poni: Path, frame, scattering):
    """Same pixels, two data keys, two geometries; and a third key that has none."""
    half = poni.with_name("half.poni")
    text = poni.read_text()
    distance = float(next(line for line in text.splitlines() if "Distance" in line).split()[1])
    half.write_text(text.replace(f"Distance: {distance}", f"Distance: {distance / 2}"))
    assert half.read_text() != text
    reducers = open_reducers(
        None,
        {
            "near": ReductionSettings(poni=half),
            "far": ReductionSettings(poni=poni),
            "mythen": settings(dark="none"),
        },
    )

    def shown_to(data_key, image, run="u"):
        given = frame(image, run=run)
        key = given.reference.key.model_copy(update={"data_key": data_key})
        fields = {s: getattr(given.reference, s) for s in given.reference.__dataclass_fields__}
        return Frame(FrameReference(**{**fields, "key": key}), given.image)

    near, far = (reducers.reduce(shown_to(key, scattering())) for key in ("near", "far"))
    assert near.coverage.sum() != far.coverage.sum()
    reducers.add_dark(shown_to("near", np.full((200, 180), 7, dtype=np.uint32)))
    assert reducers.reduce(shown_to("near", scattering())).flags == ()
    assert reducers.reduce(shown_to("far", scattering())).flags == ("dark_missing",)
    made = {k: reducers.made_from(shown_to(k, scattering()).reference) for k in ("near", "far")}
    assert made["near"]["poni_sha256"] != made["far"]["poni_sha256"]
    with pytest.raises(BadFrame, match="geometry of 'third' is not known"):
        reducers.reduce(shown_to("third", scattering()))
    shared = open_reducers(ReductionSettings(poni=poni), {})
    shared.add_dark(shown_to("one", np.full((200, 180), 7, dtype=np.uint32)))
    assert shared.reduce(shown_to("one", scattering())).flags == ()
    assert shared.reduce(shown_to("two", scattering())).flags == ("dark_missing",)


def with_declared(frame: Frame, **values: float) -> Frame:
    declared = Declared(values, wavelength_place="start.wavelength")
    return Frame(replace(frame.reference, declared=declared), frame.image)


@pytest.mark.parametrize("factor", [1.0005, 0.9995])
def test_a_declared_wavelength_may_differ_a_little_from_the_geometry(settings, factor):
    reducers = opened(settings(dark="none"))
    frame = with_declared(strip(bump()), wavelength=WAVELENGTH * factor)
    plain = reducers.reduce(strip(bump()))
    np.testing.assert_array_equal(reducers.reduce(frame).intensity, plain.intensity)


@pytest.mark.parametrize("factor", [1.002, 0.998, 10.0])
def test_a_declared_wavelength_that_is_not_the_geometry_s_sets_the_frame_aside(settings, factor):
    reducers = opened(settings(dark="none"))
    with pytest.raises(BadFrame) as caught:
        reducers.reduce(with_declared(strip(bump()), wavelength=WAVELENGTH * factor))
    said = str(caught.value)
    assert f"{WAVELENGTH * factor:.6g} Å in start.wavelength" in said
    assert f"{WAVELENGTH:.6g} Å in the settings of the axis" in said
    assert "axis.npy" in said


def test_a_declared_wavelength_says_nothing_about_an_axis_of_q(tmp_path):
    np.save(tmp_path / "q.npy", Q)
    reducers = opened(StripSettings(axis=tmp_path / "q.npy", unit="q_A^-1", dark="none"))
    assert reducers.reduce(with_declared(strip(bump()), wavelength=1.54)).flags == ()


def test_the_declared_monitor_goes_before_the_data_key(settings):
    reducers = opened(settings(dark="none", monitor_key="monitor"))
    assert reducers.reduce(with_declared(strip(bump()), monitor=5.0)).flags == ()
    with pytest.raises(BadFrame, match="the monitor at its declared path reads 0"):
        reducers.reduce(with_declared(strip(bump(), monitor=7.0), monitor=0.0))
