"""Reading recorded patterns, the good and the bad."""

import json

import numpy as np
import pytest

from simulated_beamline.errors import BeamlineError
from simulated_beamline.recorded_patterns import (
    read_columns,
    read_patterns,
    wavelength_in_name,
)
from simulated_beamline.sample import QAxis


def write_pattern(path, q, intensity):
    path.write_text(
        "# header\n" + "".join(f"{a} {b} 0.1\n" for a, b in zip(q, intensity, strict=True))
    )


@pytest.fixture
def curve():
    q = np.linspace(1.0, 12.0, 4000)
    return q, 5.0 + np.exp(-0.5 * ((q - 3.0) / 0.1) ** 2)


@pytest.mark.parametrize(
    ("name", "wavelength"),
    [
        ("PbS_lab_wl1p5406_3p17nm_1.xy", 1.5406),
        ("PbS_synchr_wl0p56371210A_3p17nm.xye", 0.5637121),
        ("x_wl0.5A.xy", 0.5),
        ("PbS_3p17nm.xy", None),
        ("howl1p5.xy", None),
    ],
)
def test_the_wavelength_is_read_from_the_name(name, wavelength):
    assert wavelength_in_name(name) == wavelength


def test_two_theta_and_q_give_the_same_pattern(tmp_path, curve):
    q, intensity = curve
    for name, x in (
        ("a_wl0p5A.xy", np.degrees(2 * np.arcsin(q * 0.5 / 4 / np.pi))),
        ("b_wl0p5A.xy", q),
    ):
        (tmp_path / name[0]).mkdir()
        write_pattern(tmp_path / name[0] / name, x, intensity)
    (a,) = read_patterns(tmp_path / "a", QAxis(), "2th_deg", None)
    (b,) = read_patterns(tmp_path / "b", QAxis(), "q_A^-1", None)
    np.testing.assert_allclose(a.intensity, b.intensity, rtol=1e-6)
    assert [a.blank[0][1], a.blank[-1][0]] == pytest.approx([1.0, 12.0])
    assert len(a.blank) == 2
    inside = (QAxis().values() >= 1.0) & (QAxis().values() <= 12.0)
    assert a.intensity[inside].mean() == pytest.approx(1.0)


def test_a_hole_in_a_pattern_is_not_filled(tmp_path, curve):
    q, intensity = curve
    kept = (q < 5.0) | (q > 5.5)
    write_pattern(tmp_path / "x.xy", q[kept], intensity[kept])
    (pattern,) = read_patterns(tmp_path, QAxis(), "q_A^-1", None)
    assert pattern.blank[1] == pytest.approx((5.0, 5.5), abs=0.01)


def test_a_manifest_says_the_wavelength(tmp_path, curve):
    write_pattern(tmp_path / "x.xye", *curve)
    (tmp_path / "manifest.json").write_text(json.dumps({"x.xye": {"wavelength": 1.5406}}))
    (pattern,) = read_patterns(tmp_path, QAxis(), "2th_deg", None)
    first = 4 * np.pi * np.sin(np.radians(0.5)) / 1.5406
    assert pattern.blank[0] == (-np.inf, pytest.approx(first))


def test_a_yaml_manifest_works_too(tmp_path, curve):
    write_pattern(tmp_path / "x.xye", *curve)
    (tmp_path / "manifest.yaml").write_text("x.xye:\n  wavelength: 0.5\n")
    assert len(read_patterns(tmp_path, QAxis(), "2th_deg", None)) == 1


def test_an_unknown_wavelength_is_said_with_the_ways_out(tmp_path, curve):
    write_pattern(tmp_path / "x.xy", *curve)
    with pytest.raises(BeamlineError, match=r"x\.xy is not known; give --wavelength"):
        read_patterns(tmp_path, QAxis(), "2th_deg", None)


@pytest.mark.parametrize("wavelength", [0.0, -1.0, float("nan"), 1e9])
def test_an_impossible_wavelength_is_refused(tmp_path, curve, wavelength):
    write_pattern(tmp_path / "x.xy", *curve)
    with pytest.raises(BeamlineError, match=r"--wavelength: .* is outside 0\.01 to 10"):
        read_patterns(tmp_path, QAxis(), "2th_deg", wavelength)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("1 2\n1 3\n", "line 2.*must increase"),
        ("1 2\n# c\n2 nan\n", "line 3.*not finite"),
        ("1 2\n2 x\n", "line 2.*two or three numbers"),
        ("1 2\n2\n", "line 2.*two or three numbers"),
        ("# nothing\n", "fewer than two points"),
        ("\x00\x01\x02", "line 1"),
    ],
)
def test_a_broken_pattern_is_named_with_its_line(tmp_path, text, place):
    path = tmp_path / "bad.xy"
    path.write_text(text)
    with pytest.raises(BeamlineError, match=f"bad.xy.*{place}"):
        read_columns(path)


def test_a_pattern_elsewhere_in_q_is_refused(tmp_path):
    write_pattern(tmp_path / "far.xy", [50.0, 60.0], [1.0, 1.0])
    with pytest.raises(BeamlineError, match="check unit and wavelength"):
        read_patterns(tmp_path, QAxis(), "q_A^-1", None)


@pytest.mark.parametrize("unit", ["degrees", ""])
def test_an_unknown_unit_is_named_with_the_known_ones(tmp_path, unit):
    with pytest.raises(BeamlineError, match=r"2th_deg, q_A\^-1, q_nm\^-1"):
        read_patterns(tmp_path, QAxis(), unit, None)


def test_a_missing_or_empty_folder_is_named(tmp_path):
    with pytest.raises(BeamlineError, match=r"holds no \.xy or \.xye"):
        read_patterns(tmp_path, QAxis(), "2th_deg", None)
    with pytest.raises(BeamlineError, match="not a folder"):
        read_patterns(tmp_path / "none", QAxis(), "2th_deg", None)
