"""Reading recorded frames and masks, the good and the bad."""

import h5py
import numpy as np
import pytest
import tifffile

from simulated_beamline.errors import BeamlineError
from simulated_beamline.recorded_frames import read_frames, read_mask


def test_frames_keep_shape_dtype_and_negative_values(tmp_path):
    image = np.arange(-10, 10, dtype=np.int32).reshape(4, 5)
    tifffile.imwrite(tmp_path / "a.tif", image)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["entry/scalar"] = 3.0
        file["entry/data/data"] = np.stack([image, image + 1])
    frames, names = read_frames(tmp_path)
    assert names == ["a.tif", "b.h5#0", "b.h5#1"]
    assert {frame.dtype for frame in frames} == {np.dtype(np.int32)}
    np.testing.assert_array_equal(frames[2], image + 1)


def test_frames_of_two_shapes_are_not_one_scan(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 5), np.uint16))
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((4, 6), np.uint16))
    with pytest.raises(BeamlineError, match=r"b\.tif is \(4, 6\)"):
        read_frames(tmp_path)


def test_a_truncated_tiff_and_a_false_hdf5_are_named(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"II*\x00")
    with pytest.raises(BeamlineError, match=r"a\.tif cannot be read"):
        read_frames(tmp_path)
    (tmp_path / "a.tif").unlink()
    (tmp_path / "b.h5").write_bytes(b"no")
    with pytest.raises(BeamlineError, match=r"b\.h5 cannot be read"):
        read_frames(tmp_path)


def test_a_missing_or_empty_folder_is_named(tmp_path):
    with pytest.raises(BeamlineError, match="holds no TIFF or HDF5"):
        read_frames(tmp_path)
    with pytest.raises(BeamlineError, match="not a folder"):
        read_frames(tmp_path / "none")


def test_a_mask_of_another_shape_is_refused(tmp_path):
    np.save(tmp_path / "mask.npy", np.zeros((2, 2), np.uint8))
    with pytest.raises(BeamlineError, match=r"\(2, 2\), but the frames are \(4, 5\)"):
        read_mask(tmp_path / "mask.npy", (4, 5))


def test_a_tiff_mask_is_read(tmp_path):
    mask = np.eye(4, dtype=np.uint8) * 255
    tifffile.imwrite(tmp_path / "mask.tif", mask)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.tif", (4, 4)), mask != 0)
