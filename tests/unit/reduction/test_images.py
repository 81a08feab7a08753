"""Mask and dark images: three formats, and hostile files."""

import hashlib
from pathlib import Path

import fabio.edfimage
import numpy as np
import pytest
import tifffile

from qd_agent.core.errors import Fatal
from qd_agent.reduction.images import read_image

IMAGE = np.arange(12, dtype=np.uint16).reshape(3, 4)


def _write(path: Path, image: np.ndarray) -> Path:
    if path.suffix == ".npy":
        np.save(path, image)
    elif path.suffix == ".edf":
        fabio.edfimage.EdfImage(data=image).write(str(path))
    else:
        tifffile.imwrite(path, image)
    return path


@pytest.mark.parametrize("name", ["a.npy", "a.tif", "a.tiff", "a.TIF", "a.edf"])
def test_every_format_is_read_with_its_hash(tmp_path: Path, name: str):
    path = _write(tmp_path / name, IMAGE)
    image, sha256 = read_image(path, "mask")
    np.testing.assert_array_equal(image, IMAGE)
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("suffix", [".npy", ".tif", ".edf"])
@pytest.mark.parametrize("content", [b"", b"no image at all\n", b"\x93NUMPY\x01\x00", b"II*\x00"])
def test_a_damaged_image_is_refused_in_one_line(tmp_path: Path, suffix: str, content: bytes):
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(content)
    with pytest.raises(Fatal) as caught:
        read_image(path, "mask")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".npy", ".tif", ".edf"])
def test_a_truncated_image_is_refused(tmp_path: Path, suffix: str):
    path = _write(tmp_path / f"short{suffix}", np.ones((50, 50), dtype=np.float32))
    path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(Fatal, match="short"):
        read_image(path, "dark")


def test_pickled_objects_are_never_loaded(tmp_path: Path):
    path = tmp_path / "evil.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(Fatal, match="not a readable"):
        read_image(path, "mask")


@pytest.mark.parametrize(
    "image", [np.zeros(5), np.zeros((2, 2, 2)), np.zeros((2, 2), complex), np.zeros((0, 4))]
)
def test_what_is_no_two_dimensional_real_image_is_refused(tmp_path: Path, image: np.ndarray):
    with pytest.raises(Fatal, match="no two-dimensional image"):
        read_image(_write(tmp_path / "odd.npy", image), "mask")


def test_missing_files_folders_and_other_formats_are_named(tmp_path: Path):
    with pytest.raises(Fatal, match=r"dark file .* does not exist"):
        read_image(tmp_path / "gone.npy", "dark")
    with pytest.raises(Fatal, match="must be one of"):
        read_image(tmp_path / "Stream", "dark")
