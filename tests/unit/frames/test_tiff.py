"""Frames from TIFF files, as a detector writes them in another process, and as strangers might."""

import struct
import subprocess
import sys
import threading
import tracemalloc
import zlib

import numpy as np
import pytest
import tifffile

from qd_agent.core.errors import BadFrame, Unavailable
from qd_agent.core.frame import FrameKey, FrameReference, TiffLocation
from qd_agent.frames import FrameSettings, open_reader, patience

H, W = 8, 6
IMAGE = np.arange(H * W, dtype="<u4").reshape(H, W)

WRITER = """
import sys, numpy as np, tifffile
path, = sys.argv[1:]
image = np.arange(48, dtype="<u4").reshape(8, 6)
for half in sys.stdin:
    tifffile.imwrite(path + ".whole", image)
    content = open(path + ".whole", "rb").read()
    with open(path, "wb") as file:
        file.write(content[: len(content) // 2] if half.strip() == "half" else content)
    print("written", flush=True)
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def reader(folder):
    made = open_reader(FrameSettings(deadline_s=0.0, allowed_roots=[folder]))
    yield made
    made.close()


def frame(path, page=0, shape=(H, W), dtype="<u4"):
    key = FrameKey(run_uid="run", stream="primary", data_key="det", seq_num=1)
    uri = path if isinstance(path, str) else path.as_uri()
    return FrameReference(key, 0.0, TiffLocation(uri=uri, page=page), shape, dtype)


def refused(reader, reference, reason, error=BadFrame):
    with pytest.raises(error, match=reason) as caught:
        reader.read(reference)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i4", "f4"])
def test_every_usual_image_is_read(folder, reader, dtype, bigtiff, byteorder):
    image = IMAGE.astype(byteorder + dtype)
    tifffile.imwrite(folder / "a.tiff", image, byteorder=byteorder, bigtiff=bigtiff)
    found = reader.read(frame(folder / "a.tiff", dtype="<" + dtype)).image
    assert (found.shape, found.dtype.kind) == ((H, W), np.dtype(dtype).kind)
    assert np.array_equal(found, image)


@pytest.mark.parametrize(
    "options",
    [{"compression": "zlib"}, {"compression": "zlib", "predictor": True}, {"rowsperstrip": 3},
     {"tile": (16, 16)}, {"tile": (16, 16), "compression": "zlib"}],
)  # fmt: skip
def test_frames_in_pieces_are_put_together(folder, reader, options):
    tifffile.imwrite(folder / "a.tiff", IMAGE, **options)
    assert np.array_equal(reader.read(frame(folder / "a.tiff")).image, IMAGE)


def test_pages_are_counted_through(folder, reader):
    stack = np.stack([IMAGE + page for page in range(5)])
    tifffile.imwrite(folder / "a.tiff", stack, photometric="minisblack")
    for page in range(5):
        assert np.array_equal(reader.read(frame(folder / "a.tiff", page)).image, stack[page])
    refused(reader, frame(folder / "a.tiff", 5), "holds 5 pages, this is page 5", Unavailable)


def test_a_strip_of_one_row_has_one_axis(folder, reader):
    tifffile.imwrite(folder / "a.tiff", IMAGE[:1])
    found = reader.read(frame(folder / "a.tiff", shape=(W,))).image
    assert np.array_equal(found, IMAGE[0])


def test_a_file_that_another_process_has_not_finished_is_waited_for(folder):
    """The reader asks first; the writer acts, in halves, when the reader has begun to wait."""
    path = folder / "cam_000001.tiff"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
    )  # fmt: skip
    orders = iter(["half\n", "all\n"])
    reasons = []

    class Clock:
        @staticmethod
        def monotonic():
            return 0.0

        @staticmethod
        def sleep(_):
            with pytest.raises((BadFrame, Unavailable)) as caught:
                once.read(frame(path))
            reasons.append(str(caught.value))
            writer.stdin.write(next(orders))
            assert writer.stdout.readline() == "written\n"

    reader = open_reader(FrameSettings(deadline_s=1.0, allowed_roots=[folder]))
    once = open_reader(FrameSettings(deadline_s=0.0, allowed_roots=[folder]), lambda: True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patience, "time", Clock)
        found = reader.read(frame(path)).image
    assert np.array_equal(found, IMAGE)
    assert "does not exist" in reasons[0]
    assert "complete" in reasons[1]
    writer.stdin.close()
    writer.stdout.close()
    assert writer.wait(60) == 0


@pytest.mark.parametrize("cut", [0, 4, 8, 12, 60, 0.5, 0.9, 0.99])
def test_a_file_that_ends_early_may_still_become_whole(folder, reader, cut):
    tifffile.imwrite(folder / "a.tiff", IMAGE)
    content = (folder / "a.tiff").read_bytes()
    size = int(cut * len(content)) if isinstance(cut, float) else cut
    (folder / "a.tiff").write_bytes(content[:size])
    refused(reader, frame(folder / "a.tiff"), "complete", Unavailable)


def ifd(*tags, following=0, at=8):
    """A little-endian directory: (number, type, count, value) each."""
    body = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return (
        struct.pack("<2sHI", b"II", 42, at)
        + struct.pack("<H", len(tags))
        + body
        + (struct.pack("<I", following))
    )


SIZES = ((256, 4, 1, W), (257, 4, 1, H), (258, 3, 1, 32), (262, 3, 1, 1))
ONE_STRIP = ((273, 4, 1, 200), (278, 4, 1, 2**32 - 1), (279, 4, 1, 4 * H * W))

HOSTILE = {
    "no TIFF": (b"not a TIFF file at all.........", "not like a TIFF file"),
    "a page that follows itself": (ifd(*SIZES, following=8) + bytes(400), "lead back"),
    "thousands of tags": (struct.pack("<2sHIH", b"II", 42, 8, 60000) + bytes(9**6), "60000 tags"),
    "a tag of a billion numbers": (
        ifd(*SIZES, (273, 4, 2**30, 200)) + bytes(400), "holds 1073741824 values"),
    "another shape": (
        ifd((256, 4, 1, 2**20), (257, 4, 1, 2**20), *SIZES[2:], *ONE_STRIP) + bytes(400),
        "its descriptor declares"),
    "colours": (ifd(*SIZES, (277, 3, 1, 3), *ONE_STRIP) + bytes(9**4), "samples a pixel"),
    "a compression that is not read": (
        ifd(*SIZES, (259, 3, 1, 5), *ONE_STRIP) + bytes(9**4), "deflate and none are"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_what_no_detector_writes_is_refused_before_it_costs_anything(folder, reader, name):
    content, reason = HOSTILE[name]
    (folder / "a.tiff").write_bytes(content)
    wanted = frame(folder / "a.tiff", page=3 if "follows" in name else 0)
    tracemalloc.start()
    try:
        refused(reader, wanted, reason)
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


def test_a_piece_that_would_outgrow_its_declaration_is_refused_before_it_does(folder, reader):
    bomb = zlib.compress(bytes(50_000_000), 9)
    tags = (*SIZES, (259, 3, 1, 8), (273, 4, 1, 200), (278, 4, 1, H), (279, 4, 1, len(bomb)))
    (folder / "a.tiff").write_bytes(ifd(*tags).ljust(200, b"\0") + bomb)
    tracemalloc.start()
    try:
        refused(reader, frame(folder / "a.tiff"), "would become .* bytes or more")
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_declared_shape_dtype_and_limits_hold(folder, reader):
    tifffile.imwrite(folder / "a.tiff", IMAGE)
    refused(reader, frame(folder / "a.tiff", shape=(H, W + 1)), "its descriptor declares")
    refused(reader, frame(folder / "a.tiff", dtype="<u2"), "the file holds uint32 values")
    few = open_reader(FrameSettings(deadline_s=0.0, allowed_roots=[folder], max_pixels=10))
    refused(few, frame(folder / "a.tiff"), "more than max_pixels = 10")


def test_files_outside_of_the_roots_are_refused(folder, reader, tmp_path):
    tifffile.imwrite(tmp_path / "secret.tiff", IMAGE)
    (folder / "link.tiff").symlink_to(tmp_path / "secret.tiff")
    for path in (
        tmp_path / "secret.tiff",
        folder / "link.tiff",
        f"{folder.as_uri()}/../secret.tiff",
    ):
        refused(reader, frame(path), "outside")


def test_random_damage_raises_nothing_else(folder, reader):
    rng = np.random.default_rng(5)
    tifffile.imwrite(folder / "a.tiff", IMAGE, compression="zlib")
    content = (folder / "a.tiff").read_bytes()
    for _ in range(300):
        broken = bytearray(content)
        for at in rng.integers(0, min(len(content), 300), 3):
            broken[at] = rng.integers(256)
        (folder / "a.tiff").write_bytes(broken)
        try:
            assert reader.read(frame(folder / "a.tiff")).image.shape == (H, W)
        except (BadFrame, Unavailable) as error:
            assert "\n" not in str(error)  # noqa: PT017 - either is right


def test_whoever_is_told_to_stop_does_not_wait(folder):
    stopping = threading.Event()
    stopping.set()
    reader = open_reader(FrameSettings(deadline_s=3600, allowed_roots=[folder]), stopping.is_set)
    refused(reader, frame(folder / "none.tiff"), "does not exist", Unavailable)
