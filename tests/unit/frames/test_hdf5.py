"""Frames from HDF5 files, as a detector writes them in another process."""

import bz2
import subprocess
import sys
import threading
import tracemalloc
import zlib
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest

from qd_agent.core.errors import BadFrame, Unavailable
from qd_agent.core.frame import FrameKey, FrameReference, Hdf5Location
from qd_agent.frames import FrameSettings, hdf5, open_reader, patience

H, W = 8, 6
WAIT = 60.0
"""Deadline of readers whose frame does come; only a failing test uses it up."""

WRITER = """
import sys, h5py, hdf5plugin, numpy as np
path, mode = sys.argv[1:]
filters = {"gzip": {"compression": "gzip"}, "lz4": hdf5plugin.LZ4(), "zstd": hdf5plugin.Zstd(),
           "bitshuffle": hdf5plugin.Bitshuffle(), "blosc": hdf5plugin.Blosc()}
file = dataset = None
print("ready", flush=True)
for command, *args in map(str.split, sys.stdin):
    if command == "create":
        file = h5py.File(path, "w", libver="latest" if "swmr" in mode else "earliest")
        dataset = file.create_dataset("entry/data", shape=(0, 8, 6), maxshape=(None, 8, 6),
                                      chunks=(3 if "threes" in mode else 1,
                                              4 if "halves" in mode else 8, 6), dtype="<u4",
                                      **next((f for m, f in filters.items() if m in mode), {}))
        if "swmr" in mode:
            file.swmr_mode = True
    elif command == "append":
        for _ in range(int(args[0])):
            row = dataset.shape[0]
            dataset.resize(row + 1, 0)
            dataset[row] = row + 1
        dataset.flush()
    elif command == "extend":
        dataset.resize(dataset.shape[0] + 1, 0)
        dataset.flush()
    elif command == "fill":
        dataset[-1, int(args[0]):int(args[1])] = dataset.shape[0]
        dataset.flush()
    elif command == "reopen":
        file = h5py.File(path, "r+")
        dataset = file["entry/data"]
    elif command == "close":
        file.close()
    print(command, flush=True)
"""


class Writer:
    """A detector's file writer in a process of its own; every call waits until it is done."""

    def __init__(self, path: Path, mode: str):
        self.process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout.readline() == "ready\n"

    def __call__(self, command: str):
        self.send(command)
        assert self.process.stdout.readline().split() == command.split()[:1]

    def send(self, command: str):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "run.h5"


@pytest.fixture
def start_writer(path):
    path.parent.mkdir()
    writers = []

    def start(mode):
        writers.append(Writer(path, mode))
        return writers[-1]

    yield start
    for writer in writers:
        writer.kill()


@pytest.fixture
def open_with(tmp_path):
    readers = []

    def open_one(**settings):
        settings = {"deadline_s": 0.0, "allowed_roots": [tmp_path / "data"], **settings}
        readers.append(open_reader(FrameSettings(**settings)))
        return readers[-1]

    yield open_one
    for reader in readers:
        reader.close()


def frame(path, row=0, dataset="/entry/data", shape=(H, W), dtype="<u4"):
    uri = path if isinstance(path, str) else path.as_uri()
    key = FrameKey(run_uid="run", stream="primary", data_key="det", seq_num=row + 1)
    return FrameReference(key, 0.0, Hdf5Location(uri=uri, dataset=dataset, row=row), shape, dtype)


def write(path, data, name="entry/data", **options):
    path.parent.mkdir(exist_ok=True)
    with h5py.File(path, "a") as file:
        file.create_dataset(name, data=data, **options)


def images(rows=3, dtype="<u4"):
    return np.arange(rows * H * W).reshape(rows, H, W).astype(dtype)


def refused(reader, reference, reason, error=BadFrame):
    with pytest.raises(error, match=reason) as caught:
        reader.read(reference)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def not_yet(reader, reference, reason):
    """What is asked for is not there, and may still come."""
    refused(reader, reference, reason, error=Unavailable)


@pytest.mark.parametrize(
    "mode",
    ["swmr", "swmr gzip threes", "swmr lz4", "swmr bitshuffle", "swmr zstd threes", "swmr blosc"],
)
def test_frames_are_read_while_another_process_appends_them(path, start_writer, open_with, mode):
    writer, reader = start_writer(mode), open_with(deadline_s=WAIT)
    writer("create")
    for row in range(5):
        writer("append 1")
        image = reader.read(frame(path, row)).image
        assert (image.shape, image.dtype) == ((H, W), np.dtype("<u4"))
        assert (image == row + 1).all()
    writer("close")
    assert (reader.read(frame(path, 4)).image == 5).all()
    assert (open_with().read(frame(path, 0)).image == 1).all()


def test_a_frame_announced_before_it_is_written_is_waited_for(path, start_writer, open_with):
    """The reader asks first; the writer acts when the reader has begun to wait."""
    writer, reader = start_writer("swmr"), open_with(deadline_s=WAIT)
    waiting = threading.Event()

    class Clock:
        @staticmethod
        def monotonic():
            return 0.0

        @staticmethod
        def sleep(_):
            waiting.set()
            written.wait(WAIT)

    written, result = threading.Event(), []
    thread = threading.Thread(target=lambda: result.append(reader.read(frame(path, 1)).image))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patience, "time", Clock)
        thread.start()
        assert waiting.wait(WAIT), "the reader did not wait for a file that is not there"
        writer("create")
        writer("append 2")
        written.set()
        thread.join(WAIT)
    assert (result[0] == 2).all()


@pytest.mark.parametrize("mode", ["swmr", "swmr lz4", "swmr halves", "swmr gzip halves"])
def test_a_row_that_is_there_before_its_pixels_is_waited_for(path, start_writer, open_with, mode):
    writer, reader = start_writer(mode), open_with()
    writer("create")
    writer("append 1")
    writer("extend")
    not_yet(reader, frame(path, 1), "row 1 of dataset '/entry/data' is not written yet")
    if "halves" in mode:
        writer("fill 0 4")
        not_yet(reader, frame(path, 1), "row 1 of dataset '/entry/data' is not written yet")
        writer("fill 4 8")
    else:
        writer("fill 0 8")
    assert (reader.read(frame(path, 1)).image == 2).all()


def test_a_row_in_a_chunk_that_is_still_filled_is_waited_for(path, start_writer, open_with):
    writer, reader = start_writer("swmr threes"), open_with()
    writer("create")
    writer("append 1")
    writer("extend")
    not_yet(reader, frame(path, 1), "row 1 of dataset '/entry/data' is empty, or not written yet")
    writer("fill 0 8")
    assert (reader.read(frame(path, 1)).image == 2).all()
    writer("extend")
    writer("append 1")
    assert not reader.read(frame(path, 2)).image.any(), "the writer has gone on without it"


def test_a_row_that_its_writer_never_wrote_is_empty_once_the_file_is_closed(
    path, start_writer, open_with
):
    writer, reader = start_writer("swmr"), open_with()
    writer("create")
    writer("extend")
    not_yet(reader, frame(path), "not written yet")
    writer("close")
    assert not reader.read(frame(path)).image.any()


def test_a_file_written_without_swmr_is_readable_after_it_is_closed(path, start_writer, open_with):
    writer, reader = start_writer("plain"), open_with()
    writer("create")
    writer("append 2")
    not_yet(reader, frame(path, 1), "not readable after")
    writer("close")
    assert (reader.read(frame(path, 1)).image == 2).all()


def test_a_reader_shuts_no_writer_out(path, start_writer, open_with):
    writer, reader = start_writer("plain"), open_with()
    writer("create")
    writer("append 1")
    writer("close")
    assert (reader.read(frame(path, 0)).image == 1).all()
    writer("reopen")
    writer("append 1")
    writer("close")
    assert (reader.read(frame(path, 1)).image == 2).all()


def test_what_a_killed_writer_left_is_readable(path, start_writer, open_with):
    writer = start_writer("swmr")
    writer("create")
    writer("append 2")
    writer.kill()
    assert (open_with().read(frame(path, 1)).image == 2).all()
    not_yet(open_with(), frame(path, 2), "holds 2 frames, this is frame 2")


def test_without_swmr_live_files_are_left_alone(path, start_writer, open_with):
    writer, reader = start_writer("swmr"), open_with(swmr=False)
    writer("create")
    writer("append 1")
    not_yet(reader, frame(path), "not readable after")
    writer("close")
    assert (reader.read(frame(path)).image == 1).all()


def clock_of(pauses):
    """Give a clock by which nothing takes time but the pauses, which are noted."""

    class Clock:
        @staticmethod
        def monotonic():
            return sum(pauses)

        @staticmethod
        def sleep(seconds):
            pauses.append(seconds)

    return Clock


def test_a_file_that_never_comes_is_given_up_at_the_deadline(path, open_with, monkeypatch):
    path.parent.mkdir()
    monkeypatch.setattr(patience, "time", clock_of([]))
    reader = open_with(deadline_s=0.05)
    not_yet(reader, frame(path), r"not readable after 0\.0 s: .*does not exist")


def test_a_stalled_file_is_not_waited_for_in_full_again(path, open_with):
    write(path, images(1))
    reader = open_with(deadline_s=0.2)
    pauses = []
    clock = clock_of(pauses)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patience, "time", clock)
        not_yet(reader, frame(path, 1), "holds 1 frames")
        first, pauses[:] = sum(pauses), []
        not_yet(reader, frame(path, 2), "holds 1 frames")
    assert 0.1 < first <= 0.2
    assert pauses == [], "whoever comes next does not wait for the same file"
    write(path, images(2), "more")  # the file is not waited for until it yields a frame
    assert np.array_equal(reader.read(frame(path, 1, "more")).image, images(2)[1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patience, "time", clock)
        not_yet(reader, frame(path, 1), "holds 1 frames")
    assert 0.1 < sum(pauses) <= 0.2


def test_whoever_is_told_to_stop_does_not_wait_to_the_deadline(path, tmp_path):
    path.parent.mkdir()
    asked = []

    def stopping():
        asked.append(True)
        return len(asked) > 2

    settings = FrameSettings(deadline_s=3600.0, allowed_roots=[path.parent])
    reader = open_reader(settings, stopping)
    not_yet(reader, frame(path), "does not exist")
    assert len(asked) == 3
    reader.close()


def test_the_length_of_a_dataset_is_what_it_holds_now(path, start_writer, open_with):
    writer, reader = start_writer("swmr"), open_with()
    with pytest.raises(Unavailable, match="does not exist"):
        reader.length(path.as_uri(), "/entry/data")
    writer("create")
    writer("append 2")
    assert reader.length(path.as_uri(), "/entry/data") == 2
    assert (reader.read(frame(path, 1)).image == 2).all()
    writer("append 1")
    assert reader.length(path.as_uri(), "/entry/data") == 3
    with pytest.raises(Unavailable, match="cannot be opened"):
        reader.length(path.as_uri(), "/other")
    with pytest.raises(BadFrame, match="outside"):
        reader.length("file:///etc/passwd", "/entry/data")


def test_a_replaced_file_is_read_anew(path, open_with):
    reader = open_with()
    write(path, images())
    before = reader.read(frame(path, 1)).image
    path.unlink()
    write(path, images() + 7)
    assert np.array_equal(reader.read(frame(path, 1)).image, before + 7)


def test_files_are_let_go(path, open_with, start_writer):
    writer, reader = start_writer("swmr"), open_with()
    writer("create")
    writer("append 1")
    for number in range(2 * hdf5.MAX_OPEN):
        live, closed = path.with_name(f"live{number}.h5"), path.with_name(f"closed{number}.h5")
        write(closed, images(1) + number)
        live.write_bytes(path.read_bytes())  # as if a writer of its own were at work
        assert reader.read(frame(closed)).image[0, 0] == number
        assert reader.read(frame(live)).image[0, 0] == 1
    assert open_files() == {f"live{number}.h5" for number in range(8, 16)}
    reader.close()
    assert open_files() == set()


def open_files():
    """Names of the HDF5 files that this process has open."""
    targets = [_target(link) for link in Path("/proc/self/fd").iterdir()]
    return {Path(target).name for target in targets if str(target).endswith(".h5")}


def _target(link):
    try:
        return link.readlink()
    except FileNotFoundError:  # the descriptor of this very listing
        return ""


@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<i4", "<f4", "<f8", "|u1", "|b1"])
def test_every_real_dtype_is_read(path, open_with, dtype):
    data = images(2, dtype)
    write(path, data)
    assert np.array_equal(open_with().read(frame(path, 1, dtype=dtype)).image, data[1])
    assert np.array_equal(open_with().read(frame(path, 1, dtype=None)).image, data[1])


def test_the_byte_order_may_differ(path, open_with):
    write(path, images(1, ">u4"))
    assert np.array_equal(open_with().read(frame(path)).image, images(1)[0])


def test_a_dataset_that_was_made_as_long_as_the_scan_holds_what_was_written(path, open_with):
    path.parent.mkdir()
    with h5py.File(path, "w") as file:
        data = file.create_dataset("entry/data", (10, H, W), "<u4", chunks=(2, H, W))
        data[:3] = images()
    assert open_with().length(path.as_uri(), "/entry/data") == 4, "two share a chunk"


def test_a_dataset_whose_length_tells_nothing_is_not_counted(path, open_with):
    write(path, images(), name="entry/whole")
    layout = h5py.VirtualLayout((9, H, W), "<u4")
    layout[:3] = h5py.VirtualSource(path, "entry/whole", (3, H, W))
    with h5py.File(path, "a") as file:
        file.create_virtual_dataset("entry/planned", layout)
    reader = open_with()
    for name in ("whole", "planned"):
        with pytest.raises(Unavailable, match="how many frames were taken"):
            reader.length(path.as_uri(), f"/entry/{name}")


def test_a_dataset_of_several_frames_a_row_is_counted_through(path, open_with):
    data = np.arange(2 * 3 * H * W, dtype="<u4").reshape(2, 3, H, W)
    write(path, data)
    reader = open_with()
    for row in range(6):
        assert np.array_equal(reader.read(frame(path, row)).image, data[row // 3, row % 3])
    not_yet(reader, frame(path, 6), "holds 6 frames")


@pytest.mark.parametrize("shape", [(2, 40), (2, 3, 40)])
def test_strips_are_read_as_rows_of_one_axis(path, open_with, shape):
    data = np.arange(np.prod(shape), dtype="<u4").reshape(shape)
    write(path, data, chunks=(1, *shape[1:]), compression="gzip")
    reader = open_with()
    for row, strip in enumerate(data.reshape(-1, 40)):
        assert np.array_equal(reader.read(frame(path, row, shape=(40,))).image, strip)
    not_yet(reader, frame(path, data.size // 40, shape=(40,)), "frames, this is frame")
    refused(reader, frame(path, 0, shape=(41,)), "its descriptor declares")
    assert reader.length(path.as_uri(), "/entry/data") == 2


def test_compressed_frames_are_read(path, open_with):
    for name, filters in {
        "gzip": {"compression": "gzip"},
        "shuffled gzip with checksum": {"compression": 9, "shuffle": True, "fletcher32": True},
        "lzf": {"compression": "lzf"},
        "scale offset": {"scaleoffset": 0},
        "bitshuffle": hdf5plugin.Bitshuffle(),
        "bitshuffle zstd": hdf5plugin.Bitshuffle(cname="zstd"),
        "bitshuffle alone": hdf5plugin.Bitshuffle(cname="none"),
        "blosc": hdf5plugin.Blosc(),
        "lz4": hdf5plugin.LZ4(),
        "zstd": hdf5plugin.Zstd(),
        "bzip2": hdf5plugin.BZip2(),
    }.items():
        write(path, images(), name, chunks=(1, H, W), **filters)
        assert np.array_equal(open_with().read(frame(path, 2, name)).image, images()[2])


def bomb(path, name, stored, **filters):
    """Write a file whose only chunk holds `stored` instead of what its filters would have made."""
    path.parent.mkdir(exist_ok=True)
    with h5py.File(path, "w") as file:
        data = file.create_dataset(name, (1, H, W), "<u4", chunks=(1, H, W), **filters)
        data.id.write_direct_chunk((0, 0, 0), stored)


HUGE = 2**40
LZ4_HEADER = HUGE.to_bytes(8, "big") + (8192).to_bytes(4, "big")
BOMBS = {
    "gzip": (zlib.compress(bytes(50_000_000), 9), {"compression": "gzip"}),
    "shuffled gzip": (zlib.compress(bytes(50_000_000), 9), {"compression": 9, "shuffle": True}),
    "gzip of one byte too many": (zlib.compress(bytes(4 * H * W + 1)), {"compression": "gzip"}),
    "bzip2": (bz2.compress(bytes(50_000_000)), hdf5plugin.BZip2()),
    "lz4": (LZ4_HEADER + bytes(100), hdf5plugin.LZ4()),
    "bitshuffle": (LZ4_HEADER + bytes(100), hdf5plugin.Bitshuffle()),
    "blosc": (b"\2\1\1\4" + (2**31 - 1).to_bytes(4, "little") + bytes(100), hdf5plugin.Blosc()),
    "zstd": (b"\x28\xb5\x2f\xfd\xe0" + HUGE.to_bytes(8, "little") + bytes(9), hdf5plugin.Zstd()),
    "zstd of unknown size": (b"\x28\xb5\x2f\xfd\0\x58" + bytes(9), hdf5plugin.Zstd()),
    "more than anything could need": (bytes(10**6), {"compression": "gzip"}),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_chunk_that_would_outgrow_its_declaration_is_refused_before_it_does(
    path, open_with, name
):
    stored, filters = BOMBS[name]
    bomb(path, "data", stored, **filters)
    tracemalloc.start()
    try:
        refused(open_with(), frame(path, dataset="data"), "would become .* bytes or more")
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_a_damaged_chunk_is_refused(path, open_with):
    for stored, filters in (
        (b"no deflate", {"compression": "gzip"}),
        (b"no bzip2", hdf5plugin.BZip2()),
    ):
        bomb(path, "data", stored, **filters)
        refused(open_with(), frame(path, dataset="data"), "a chunk cannot be")


def test_a_compression_that_tells_nothing_of_its_size_is_refused(path, open_with):
    write(path, images(), "sz", chunks=(1, H, W), **hdf5plugin.Blosc2())
    refused(open_with(), frame(path, 0, "sz"), "it cannot be told beforehand how large")
    with h5py.File(path, "a") as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((1, H, W))
        plist.set_deflate(9)
        plist.set_deflate(9)
        space = h5py.h5s.create_simple((1, H, W))
        h5py.h5d.create(file.id, b"twice", h5py.h5t.STD_U32LE, space, plist)
    refused(open_with(), frame(path, 0, "twice"), "it cannot be told beforehand how large")


def test_a_frame_in_countless_chunks_is_refused(path, open_with):
    path.parent.mkdir()
    with h5py.File(path, "w") as file:
        file.create_dataset("d", (1, 500, 500), "<u4", chunks=(1, 1, 1), compression="gzip")
    refused(open_with(), frame(path, dataset="d", shape=(500, 500)), "cut into 250000 chunks")


def test_chunks_that_were_never_written_and_rows_that_share_a_chunk_are_read(path, open_with):
    path.parent.mkdir()
    with h5py.File(path, "w") as file:
        data = file.create_dataset("d", (6, H, W), "<u4", chunks=(3, 5, 4), compression="gzip")
        data[:3] = images()
    reader = open_with()
    for row in range(3):
        assert np.array_equal(reader.read(frame(path, row, "d")).image, images()[row])
    assert not reader.read(frame(path, 5, "d")).image.any()


def test_an_unknown_compression_is_named(path, open_with):
    path.parent.mkdir()
    with h5py.File(path, "w") as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((1, H, W))
        plist.set_filter(hdf5plugin.LZ4_ID, h5py.h5z.FLAG_OPTIONAL)
        space = h5py.h5s.create_simple((1, H, W))
        h5py.h5d.create(file.id, b"data", h5py.h5t.STD_U32LE, space, plist)
    raw = path.read_bytes()
    lz4, other = hdf5plugin.LZ4_ID.to_bytes(2, "little"), (31999).to_bytes(2, "little")
    path.write_bytes(raw.replace(lz4, other, 1))
    refused(open_with(), frame(path, dataset="data"), "filter 31999 .*not installed")


@pytest.mark.parametrize(
    ("declared", "reason"),
    [
        ({"shape": (H, W + 1)}, r"has shape \(8, 6\), its descriptor declares \(8, 7\)"),
        ({"dtype": "<u2"}, "holds uint32 values, its descriptor declares uint16"),
        ({"dtype": "<f4"}, "declares float32"),
        ({"dtype": "|O"}, "dtype_numpy"),
        ({"dataset": "/entry"}, "is not a dataset"),
        ({"dataset": "/"}, "is not a dataset"),
        ({"dataset": "/entry/data/more"}, "inside of a dataset"),
        ({"dataset": "\0"}, "no name that a dataset can have"),
    ],
)
def test_what_was_not_declared_is_refused(path, open_with, declared, reason):
    write(path, images())
    refused(open_with(), frame(path, **declared), reason)


@pytest.mark.parametrize(
    ("declared", "reason"),
    [
        ({"dataset": "/entry/other"}, "not readable after"),
        ({"dataset": "/entry/../../etc"}, "not readable after"),
        ({"row": 3}, "holds 3 frames, this is frame 3"),
        ({"row": 2**62}, "holds 3 frames"),
        ({"row": 2**70}, "holds 3 frames"),
    ],
)
def test_what_a_writer_may_still_add_is_not_refused_for_good(path, open_with, declared, reason):
    write(path, images())
    not_yet(open_with(), frame(path, **declared), reason)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (np.zeros((H, W), "<u4"), "frames need"),
        (np.uint32(7), "frames need"),
        (np.zeros((1, 1, 1, H, W), "<u4"), "frames need"),
        (np.zeros((1, H, W), "<c8"), "not real numbers"),
        (np.zeros((1, H, W), "S4"), "not real numbers"),
        (np.zeros((1, H, W), [("a", "<u4")]), "not real numbers"),
        (h5py.Empty("<u4"), "frames need"),
    ],
)
def test_what_is_no_stack_of_images_is_refused(path, open_with, data, reason):
    write(path, data)
    refused(open_with(), frame(path), reason)


def test_too_many_pixels_are_refused_before_they_are_read(path, open_with):
    path.parent.mkdir()
    side = 2**16
    with h5py.File(path, "w") as file:
        file.create_dataset("d", shape=(1, side, side), chunks=(1, 64, 64), dtype="<u4")
        file.create_dataset(
            "c", shape=(1, H, W), maxshape=(None, None, None), dtype="<u4", chunks=(1, 2**14, 2**14)
        )
    refused(open_with(), frame(path, dataset="d", shape=(side, side)), "more than max_pixels")
    refused(open_with(max_chunk_bytes=10**9), frame(path, dataset="c"), "max_chunk_bytes = 10")


@pytest.mark.parametrize("size", [0, 1, 8, 100, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_refused(path, open_with, size):
    write(path, images(50), chunks=(1, H, W))
    raw = path.read_bytes()
    path.write_bytes(raw[: size if isinstance(size, int) else int(size * len(raw))])
    not_yet(open_with(), frame(path, 49), "not readable after")


def test_what_is_no_hdf5_is_refused(path, open_with):
    path.parent.mkdir()
    path.write_bytes(b"II*\0" + bytes(100_000))
    not_yet(open_with(), frame(path), "is no HDF5 file")


def test_a_damaged_live_file_is_given_up_in_time(path, start_writer, open_with):
    """HDF5 itself would try to read wrong checksums of a live file for ever."""
    writer = start_writer("swmr")
    writer("create")
    writer("append 1")
    writer.kill()
    raw = bytearray(path.read_bytes())
    at = raw.index(b"OHDR")
    raw[at + 8] ^= 0xFF
    path.write_bytes(raw)
    not_yet(open_with(), frame(path), "checksum")


def test_files_outside_of_the_roots_are_refused(path, open_with, tmp_path):
    write(path, images())
    write(tmp_path / "secret.h5", images())
    (path.parent / "link.h5").symlink_to(tmp_path / "secret.h5")
    refused(open_with(), frame(tmp_path / "secret.h5"), "outside")
    refused(open_with(), frame(f"file://{path.parent}/../secret.h5"), "outside")
    refused(open_with(), frame(path.parent / "link.h5"), "outside")
    refused(open_with(allowed_roots=[]), frame(path), "allowed_roots is empty")


def test_links_inside_the_roots_are_followed(path, open_with):
    write(path, images())
    master = path.with_name("master.h5")
    with h5py.File(master, "w") as file:
        file["external"] = h5py.ExternalLink("run.h5", "/entry/data")
        file["absolute"] = h5py.ExternalLink(str(path), "entry/data")
        file["group"] = h5py.ExternalLink("run.h5", "/entry")
        file["deep/soft"] = h5py.SoftLink("../external/.")
        file["deep/down"] = h5py.SoftLink("/group/data")
        file["deep/hard"] = images()
        file["deep/beside"] = h5py.SoftLink("hard")
    reader = open_with()
    for name in ("external", "absolute", "group/data", "deep/down", "/deep//./beside"):
        assert np.array_equal(reader.read(frame(master, 2, name)).image, images()[2]), name


def test_links_out_of_the_roots_are_refused(path, open_with, tmp_path):
    write(tmp_path / "secret.h5", images(), "d")
    path.parent.mkdir()
    with h5py.File(path, "w") as file:
        file["up"] = h5py.ExternalLink("../secret.h5", "/d")
        file["absolute"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "/d")
        file["soft"] = h5py.SoftLink("/up")
        file["device"] = h5py.ExternalLink("/dev/zero", "/d")
        file["loop"] = h5py.SoftLink("/loop")
        file["self"] = h5py.ExternalLink("run.h5", "/self")
        file["gone"] = h5py.ExternalLink("gone.h5", "/d")
    for name in ("up", "absolute", "soft", "device"):
        refused(open_with(), frame(path, dataset=name), "outside")
    for name in ("loop", "self"):
        refused(open_with(), frame(path, dataset=name), "behind more than 16 links")
    not_yet(open_with(), frame(path, dataset="gone"), "does not exist")


def virtual(path, sources, name="v"):
    layout = h5py.VirtualLayout(shape=(len(sources), H, W), dtype="<u4")
    for row, (file, dataset) in enumerate(sources):
        layout[row] = h5py.VirtualSource(str(file), dataset, shape=(3, H, W))[row]
    with h5py.File(path, "a") as file:
        file.create_virtual_dataset(name, layout)


def test_virtual_datasets_inside_the_roots_are_read(path, open_with):
    write(path, images())
    master = path.with_name("master.h5")
    virtual(master, [("run.h5", "entry/data"), (path, "entry/data")])
    virtual(path, [(".", "entry/data")])
    assert np.array_equal(open_with().read(frame(master, 1, "v")).image, images()[1])
    assert np.array_equal(open_with().read(frame(path, 0, "v")).image, images()[0])


def test_virtual_datasets_of_a_live_file_are_read(path, start_writer, open_with):
    writer = start_writer("swmr")
    writer("create")
    writer("append 3")
    master = path.with_name("master.h5")
    virtual(master, [("run.h5", "entry/data")] * 3)
    assert (open_with().read(frame(master, 2, "v")).image == 3).all()


def test_virtual_datasets_from_outside_are_refused(path, open_with, tmp_path):
    write(tmp_path / "secret.h5", images(), "d")
    write(path, images())
    with h5py.File(path, "a") as file:
        file["out"] = h5py.ExternalLink("../secret.h5", "/d")
    virtual(path, [("../secret.h5", "d")], "up")
    virtual(path, [(tmp_path / "secret.h5", "d")], "absolute")
    virtual(path, [(".", "out")], "by_link")
    virtual(path, [(".", "up")], "nested")
    with h5py.File(path, "a") as file:
        layout = h5py.VirtualLayout(shape=(1, H, W), dtype="<u4", maxshape=(None, H, W))
        source = h5py.VirtualSource("run_%b.h5", "d", shape=(1, H, W))
        layout[0 : h5py.h5s.UNLIMITED : 1, :, :] = source
        file.create_virtual_dataset("pattern", layout)
    virtual(path, [("gone.h5", "d")], "gone")
    for name in ("up", "absolute", "by_link", "nested"):
        refused(open_with(), frame(path, dataset=name), "outside")
    refused(open_with(), frame(path, dataset="pattern"), "by pattern")
    not_yet(open_with(), frame(path, dataset="gone"), "does not exist")


def test_raw_files_beside_an_hdf5_file_are_refused(path, open_with):
    path.parent.mkdir()
    with h5py.File(path, "w") as file:
        external = [("/etc/passwd", 0, H * W * 4)]
        file.create_dataset("d", shape=(1, H, W), dtype="<u4", external=external)
    refused(open_with(), frame(path, dataset="d"), "raw files")
