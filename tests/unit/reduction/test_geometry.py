"""PONI files: read, or refused in one line that says what to do."""

import hashlib
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qd_agent.core.errors import Fatal
from qd_agent.reduction.geometry import load_geometry, orient

V1 = (
    "PixelSize1: 0.000172\nPixelSize2: 0.000172\nDistance: 0.2\nPoni1: 0.087\nPoni2: 0.08\n"
    "Rot1: 0\nRot2: 0\nRot3: 0\nSplineFile: None\n"
)


@pytest.fixture(autouse=True)
def _nothing_is_logged(caplog: pytest.LogCaptureFixture) -> Generator[None]:
    """pyFAI logs tracebacks where we raise one line; the user must not see both."""
    yield
    assert caplog.records == []


def _refusal(path: Path, wavelength: float | None = None) -> str:
    with pytest.raises(Fatal) as caught:
        load_geometry(path, wavelength)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def _poni(folder: Path, text: str) -> Path:
    path = folder / "test.poni"
    path.write_text(text)
    return path


def test_a_poni_is_loaded_with_hash_wavelength_and_shape(poni: Path):
    geometry = load_geometry(poni)
    assert geometry.sha256 == hashlib.sha256(poni.read_bytes()).hexdigest()
    assert geometry.wavelength == pytest.approx(0.1839)
    assert geometry.shape == (200, 180)


def test_an_old_poni_states_no_shape(tmp_path: Path):
    assert load_geometry(_poni(tmp_path, V1 + "Wavelength: 1e-10\n")).shape is None


def test_a_named_detector_brings_shape_and_module_gaps(tmp_path: Path):
    text = V1.replace("PixelSize1", "Detector: Pilatus1M\nPixelSize1") + "Wavelength: 1e-10\n"
    geometry = load_geometry(_poni(tmp_path, text))
    assert geometry.shape == (1043, 981)
    assert geometry.integrator.detector.mask.any()


def test_the_reference_poni_is_loaded(reference: Path):
    geometry = load_geometry(reference / "frames" / "CeO2_Pilatus1M.poni")
    assert geometry.wavelength == pytest.approx(0.4066)


def test_a_missing_wavelength_is_asked_for_and_taken_from_the_settings(tmp_path: Path):
    path = _poni(tmp_path, V1)
    assert "reduction.wavelength" in _refusal(path)
    geometry = load_geometry(path, 0.5)
    assert geometry.wavelength == 0.5
    assert geometry.integrator.wavelength == pytest.approx(0.5e-10)


def test_a_wavelength_within_a_per_mille_is_used_as_configured(poni: Path):
    assert load_geometry(poni, 0.1839 * 1.0009).wavelength == pytest.approx(0.1839 * 1.0009)


@pytest.mark.parametrize("factor", [0.998, 1.002, 10.0])
def test_two_wavelengths_that_differ_are_both_named(poni: Path, factor: float):
    message = _refusal(poni, 0.1839 * factor)
    assert "0.1839 Å" in message
    assert f"{0.1839 * factor:.6g} Å" in message


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path):
    assert "does not exist" in _refusal(tmp_path / "gone.poni")
    assert "no plain file" in _refusal(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "Distance: 0.2\n",
        '{"Distance": 0.2}',
        "\x00\x01\x02",
        V1.replace("Rot3", "Rot4"),
    ],
)
def test_a_file_that_is_no_poni_is_named_with_the_line_that_lacks(tmp_path: Path, text: str):
    assert "is not a PONI file: it has no line" in _refusal(_poni(tmp_path, text), 1.0)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Distance: 0.2", "Distance: twenty"),
        ("Distance: 0.2", "Distance: 0"),
        ("Distance: 0.2", "Distance: -0.2"),
        ("Distance: 0.2", "Distance: nan"),
        ("Distance: 0.2", "Distance:"),
        ("Poni1: 0.087", "Poni1: inf"),
        ("Rot1: 0", "Rot1: nan"),
        ("PixelSize1: 0.000172\nPixelSize2: 0.000172\n", ""),
        ("PixelSize1: 0.000172", "PixelSize1: 0"),
        ("PixelSize1: 0.000172", "PixelSize1: -1e-4"),
        ("SplineFile: None", "SplineFile: /nowhere/a.spline"),
        ("SplineFile: None", "poni_version: 2"),
        ("SplineFile: None", "poni_version: 99\nDetector: Detector\nDetector_config: {}"),
        ("SplineFile: None", "poni_version: 2\nDetector: Nonesuch\nDetector_config: {}"),
        ("SplineFile: None", "poni_version: 2\nDetector: Detector\nDetector_config: {nonsense"),
        ("SplineFile: None", "poni_version: new"),
    ],
)
def test_a_broken_poni_is_refused_in_one_line(tmp_path: Path, old: str, new: str):
    _refusal(_poni(tmp_path, V1.replace(old, new)), 1.0)


@pytest.mark.parametrize("stated", ["0", "-1e-10", "nan", "inf"])
def test_an_impossible_wavelength_is_refused(tmp_path: Path, stated: str):
    _refusal(_poni(tmp_path, V1 + f"Wavelength: {stated}\n"), 1.0)


def test_each_orientation_does_what_it_says():
    image = np.arange(6).reshape(2, 3)
    assert orient(image, "as_stored").tolist() == [[0, 1, 2], [3, 4, 5]]
    assert orient(image, "flip_rows").tolist() == [[3, 4, 5], [0, 1, 2]]
    assert orient(image, "flip_columns").tolist() == [[2, 1, 0], [5, 4, 3]]
    assert orient(image, "rotate_180").tolist() == [[5, 4, 3], [2, 1, 0]]


@given(
    orientation=st.sampled_from(["as_stored", "flip_rows", "flip_columns", "rotate_180"]),
    height=st.integers(1, 5),
    width=st.integers(1, 5),
)
def test_every_orientation_undoes_itself(orientation: str, height: int, width: int):
    image = np.arange(height * width).reshape(height, width)
    twice = orient(orient(image, orientation), orientation)  # type: ignore[arg-type]
    np.testing.assert_array_equal(twice, image)
