"""A disk that is gone is told from a file that is not there."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from qd_agent.core.errors import BadFrame, StorageAway, Unavailable
from qd_agent.core.frame import FrameReference, Hdf5Location
from qd_agent.frames import FrameSettings, open_reader, storage
from qd_agent.frames.reader import Reader
from tests.helpers import records


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "disk"
    folder.mkdir()
    with h5py.File(folder / "scan.h5", "w") as file:
        file["data"] = np.ones((3, 4, 5), "<u4")
    return folder


def scan(root: Path, name: str = "scan.h5") -> FrameReference:
    location = Hdf5Location(uri=f"file://localhost{root}/{name}", dataset="data", row=0)
    return FrameReference(records.key(), 1.0, location, shape=(4, 5), dtype="<u4")


def opened(*roots: Path, in_tiled=None, **settings: object) -> Reader:
    values = FrameSettings(allowed_roots=list(roots), deadline_s=0.0, **settings)
    return open_reader(values, in_tiled=in_tiled)


def tiled_that_has_nothing(key: object) -> np.ndarray:
    raise Unavailable("Tiled does not have it")


def test_a_missing_file_is_the_files_own_affair(root: Path):
    with pytest.raises(Unavailable) as raised:
        opened(root).read(scan(root, "other.h5"))
    assert not isinstance(raised.value, StorageAway)


def test_a_root_that_is_gone_is_the_storages(root: Path):
    reader = opened(root)
    root.rename(root.with_name("elsewhere"))
    with pytest.raises(StorageAway, match=r"disk of frames\.allowed_roots is away: No such file"):
        reader.read(scan(root))


def test_it_is_read_again_once_it_is_back(root: Path):
    reader = opened(root)
    away = root.rename(root.with_name("elsewhere"))
    with pytest.raises(StorageAway):
        reader.read(scan(root))
    away.rename(root)
    assert reader.read(scan(root)).image.shape == (4, 5)


def test_a_root_that_was_never_there_is_the_storages_too(tmp_path: Path):
    with pytest.raises(StorageAway):
        opened(tmp_path / "never").read(scan(tmp_path / "never"))


def test_it_is_not_where_frames_may_be_had_from_tiled(tmp_path: Path):
    reader = opened(tmp_path / "never", in_tiled=tiled_that_has_nothing)
    with pytest.raises(Unavailable) as raised:
        reader.read(scan(tmp_path / "never"))
    assert not isinstance(raised.value, StorageAway)


def test_a_root_that_goes_while_the_agent_runs_is_the_storages_even_then(root: Path):
    reader = opened(root, in_tiled=tiled_that_has_nothing)
    root.rename(root.with_name("elsewhere"))
    with pytest.raises(StorageAway):
        reader.read(scan(root))


def test_tiled_helps_out_where_it_has_the_frame(root: Path):
    reader = opened(root, in_tiled=lambda _: np.full((4, 5), 7, "<u4"))
    root.rename(root.with_name("elsewhere"))
    assert int(reader.read(scan(root)).image[0, 0]) == 7


def test_an_unmounted_disk_leaves_an_empty_folder_of_another_file_system(root, monkeypatch):
    looks = iter([(1, ""), (2, "")])
    monkeypatch.setattr(storage, "_look", lambda _: next(looks))
    with pytest.raises(StorageAway, match="another file system lies there than at the start"):
        opened(root).read(scan(root, "other.h5"))


def test_other_roots_do_not_matter(root: Path, tmp_path: Path):
    with pytest.raises(Unavailable) as raised:
        opened(root, tmp_path / "never").read(scan(root, "other.h5"))
    assert not isinstance(raised.value, StorageAway)


def test_a_root_that_is_a_file_or_may_not_be_opened_is_away(root: Path):
    reader = opened(root)
    root.rename(root.with_name("elsewhere"))
    root.write_text("a file")
    with pytest.raises(StorageAway, match="Not a directory"):
        reader.read(scan(root))


def test_the_path_map_is_applied_before_the_root_is_looked_for(root: Path):
    reader = opened(root, path_map={"/there": str(root)})
    root.rename(root.with_name("elsewhere"))
    with pytest.raises(StorageAway):
        reader.read(scan(Path("/there")))


def test_a_path_outside_of_every_root_stays_refused(root: Path):
    reader = opened(root)
    root.rename(root.with_name("elsewhere"))
    with pytest.raises(BadFrame, match=r"outside of frames\.allowed_roots"):
        reader.read(scan(Path("/etc"), "passwd"))


def test_so_does_an_address_that_is_no_files(root: Path):
    location = Hdf5Location(uri="http://example.org/scan.h5", dataset="data", row=0)
    with pytest.raises(BadFrame, match="not a file: URI"):
        opened(root).read(FrameReference(records.key(), 1.0, location, (4, 5), "<u4"))


def test_no_file_can_be_opened_by_a_process_that_has_too_many(root: Path, monkeypatch):
    reader = opened(root)

    def too_many(*_: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(storage.os, "open", too_many)
    with pytest.raises(StorageAway, match="Too many open files"):
        reader.read(scan(root, "other.h5"))
