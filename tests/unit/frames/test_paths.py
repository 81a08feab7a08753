"""Only files under an allowed root are read, whatever a document calls them."""

import errno
import os
import socket

import pytest

from qd_agent.core.errors import BadFrame, Unavailable
from qd_agent.frames.paths import resolve
from qd_agent.frames.settings import FrameSettings
from tests.helpers.hostile_documents import URIS


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.h5").write_bytes(b"frame")
    (tmp_path / "secret.h5").write_bytes(b"secret")
    return folder


def allow(*roots, **settings):
    return FrameSettings(allowed_roots=list(roots), **settings)


@pytest.mark.parametrize(
    "form", ["file://localhost{}", "file://{}", "file:{}", "FILE://localhost{}"]
)
def test_every_local_form_of_a_file_uri_is_read(root, form):
    assert resolve(form.format(root / "a.h5"), allow(root)) == root / "a.h5"


def test_names_are_percent_decoded_once(root):
    for name in ("a b.h5", "ö#?.h5", "50%25.h5"):
        (root / name).write_bytes(b"")
        assert resolve((root / name).as_uri(), allow(root)) == root / name


def test_dots_inside_a_root_are_harmless(root):
    (root / "sub").mkdir()
    assert resolve(f"file://{root}/sub/../a.h5", allow(root)) == root / "a.h5"


@pytest.mark.parametrize(("name", "uri"), URIS, ids=[name for name, _ in URIS])
def test_hostile_uris_are_refused_in_one_line(root, name, uri):
    with pytest.raises((BadFrame, Unavailable)) as caught:
        resolve(uri.replace("ROOT", str(root)[1:]), allow(root))
    assert isinstance(caught.value, BadFrame) or "twice" in name
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_without_allowed_roots_nothing_is_read(root):
    with pytest.raises(BadFrame, match="allowed_roots is empty"):
        resolve((root / "a.h5").as_uri(), FrameSettings())


def test_a_neighbour_with_the_same_beginning_is_outside(root):
    (root.parent / "database").mkdir()
    (root.parent / "database" / "a.h5").write_bytes(b"")
    with pytest.raises(BadFrame, match=r"outside of frames\.allowed_roots"):
        resolve(f"file://{root}base/a.h5", allow(root))


def test_symbolic_links_are_followed_before_the_check(root):
    (root / "out.h5").symlink_to(root.parent / "secret.h5")
    (root / "up").symlink_to(root.parent)
    (root / "in.h5").symlink_to(root / "a.h5")
    for name in ("out.h5", "up/secret.h5"):
        with pytest.raises(BadFrame, match="outside"):
            resolve(f"file://{root}/{name}", allow(root))
    assert resolve(f"file://{root}/in.h5", allow(root)) == root / "a.h5"


def test_a_root_may_itself_be_a_link(root):
    link = root.parent / "link"
    link.symlink_to(root)
    assert resolve(f"file://{link}/a.h5", allow(link)) == root / "a.h5"


def test_a_loop_of_links_is_refused(root):
    (root / "loop.h5").symlink_to(root / "loop.h5")
    with pytest.raises(BadFrame, match="cannot be reached"):
        resolve(f"file://{root}/loop.h5", allow(root))


def test_only_regular_files_are_read(root):
    os.mkfifo(root / "pipe.h5")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(root / "s.h5"))
        for name in ("pipe.h5", "s.h5", "", "."):
            with pytest.raises(BadFrame, match="not a regular file"):
                resolve(f"file://{root}/{name}", allow(root))


def test_a_missing_file_may_still_come(root):
    with pytest.raises(Unavailable, match="does not exist"):
        resolve(f"file://{root}/late.h5", allow(root))


def test_a_missing_file_outside_is_refused_all_the_same(root):
    with pytest.raises(BadFrame, match="outside"):
        resolve(f"file://{root.parent}/late.h5", allow(root))


def test_storage_that_does_not_answer_may_answer_again(root, monkeypatch):
    def stat(path, **_):
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr("pathlib.Path.stat", stat)
    with pytest.raises(Unavailable, match="Stale file handle"):
        resolve(f"file://{root}/a.h5", allow(root))


def test_the_path_map_replaces_whole_folder_names(root):
    settings = allow(root, path_map={"/ioc": "/nowhere", "/ioc/data/": str(root)})
    assert resolve("file://localhost/ioc/data/a.h5", settings) == root / "a.h5"
    with pytest.raises(BadFrame, match="outside"):
        resolve("file://localhost/ioc/database/a.h5", settings)


def test_the_path_map_opens_no_way_out(root):
    settings = allow(root, path_map={"/ioc": str(root)})
    with pytest.raises(BadFrame, match="outside"):
        resolve("file://localhost/ioc/../secret.h5", settings)
    with pytest.raises(BadFrame, match="outside"):
        resolve("file://localhost/ioc/%2e%2e/secret.h5", settings)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_of_somebody_else_is_named(root):
    (root / "a.h5").chmod(0)
    with pytest.raises(BadFrame, match="may not be read by this user"):
        resolve(f"file://{root}/a.h5", allow(root))
