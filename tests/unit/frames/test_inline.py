"""Images inside events are checked like those in files."""

import numpy as np
import pytest

from qd_agent.core.errors import BadFrame
from qd_agent.core.frame import FrameKey, FrameReference, InlineLocation
from qd_agent.frames import FrameSettings, open_reader
from qd_agent.frames.inline import read_inline


def inline(array, shape=(2, 3), dtype=None):
    key = FrameKey(run_uid="run", stream="primary", data_key="det", seq_num=1)
    return FrameReference(key, 0.0, InlineLocation(), shape, dtype, {}, array)


def test_the_pixels_come_as_they_are():
    array = np.arange(6, dtype="<u2").reshape(2, 3)
    for dtype in (None, "<u2"):
        frame = open_reader(FrameSettings()).read(inline(array, dtype=dtype))
        assert np.array_equal(frame.image, array)
        assert frame.image.dtype == array.dtype


def test_a_list_becomes_the_declared_dtype():
    frame = read_inline(inline(np.arange(6).reshape(2, 3), dtype="<u2"), 100)
    assert frame.image.dtype == np.dtype("<u2")
    frame = read_inline(inline(np.full((2, 3), 0.1), dtype="<f4"), 100)
    assert frame.image.dtype == np.dtype("<f4")


@pytest.mark.parametrize(
    ("array", "dtype", "reason"),
    [
        (None, None, "holds no image"),
        (np.zeros((3, 2)), None, "shape"),
        (np.zeros((2, 3, 1)), None, "shape"),
        (np.zeros((2, 3), complex), None, "not real numbers"),
        (np.full((2, 3), -1), "<u2", "cannot hold"),
        (np.full((2, 3), 70000), "<u2", "cannot hold"),
        (np.full((2, 3), 0.5), "<u2", "cannot hold"),
        (np.full((2, 3), np.nan), "<u2", "cannot hold"),
        (np.zeros((2, 3)), "|O", "dtype_numpy"),
        (np.zeros((2, 3)), "<U5", "dtype_numpy"),
        (np.zeros((2, 3)), "<f99", "dtype_numpy"),
        (np.zeros((2, 3)), "f8,(2,", "dtype_numpy"),
    ],
)
def test_what_was_not_declared_is_refused(array, dtype, reason):
    with pytest.raises(BadFrame, match=reason):
        read_inline(inline(array, dtype=dtype), 100)


def test_too_many_pixels_are_refused():
    with pytest.raises(BadFrame, match="max_pixels = 5"):
        read_inline(inline(np.zeros((2, 3))), 5)
