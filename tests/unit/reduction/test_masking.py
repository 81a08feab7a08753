"""Which pixels do not count."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from qd_agent.core.errors import Fatal
from qd_agent.reduction.geometry import load_geometry
from qd_agent.reduction.masking import invalid_pixels, load_mask, static_mask


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8", ">u4"])
def test_the_largest_unsigned_value_means_no_data(dtype: str):
    largest = np.iinfo(np.dtype(dtype)).max
    image = np.array([[0, 1, largest - 1, largest]], dtype=dtype)
    assert invalid_pixels(image).tolist() == [[False, False, False, True]]


@pytest.mark.parametrize("dtype", ["i2", "i4", "i8"])
def test_negative_integers_mean_no_data(dtype: str):
    image = np.array([[0, 1, -1, -2, np.iinfo(dtype).max]], dtype=dtype)
    assert invalid_pixels(image).tolist() == [[False, False, True, True, False]]


@given(arrays(np.float32, (3, 3), elements=st.floats(width=32)))
def test_floats_without_a_finite_value_mean_no_data(image: np.ndarray):
    expected = ~np.isfinite(image) | (np.abs(image) >= 1e30)
    np.testing.assert_array_equal(invalid_pixels(image), expected)


def test_no_mask_is_no_hash():
    assert load_mask(None) == (None, "")


def test_nonzero_is_masked(tmp_path: Path):
    np.save(tmp_path / "m.npy", np.array([[0.0, 1.0, -1.0, np.nan]]))
    mask, sha256 = load_mask(tmp_path / "m.npy")
    assert mask is not None
    assert mask.tolist() == [[False, True, True, True]]
    assert len(sha256) == 64


def test_a_mask_of_everything_is_refused(tmp_path: Path):
    np.save(tmp_path / "m.npy", np.ones((3, 3), dtype=bool))
    with pytest.raises(Fatal, match="masks every pixel"):
        load_mask(tmp_path / "m.npy")


def test_the_mask_turns_with_the_image_and_joins_the_detectors_own(poni: Path):
    geometry = load_geometry(poni)
    mask = np.zeros((200, 180), dtype=bool)
    mask[0, 3] = True
    own = np.zeros((200, 180), dtype=np.int8)
    own[7, 7] = 1
    geometry.integrator.detector.mask = own
    joined = static_mask(geometry, mask, (200, 180), "flip_rows")
    assert np.argwhere(joined).tolist() == [[7, 7], [199, 3]]
