"""The beamline as a process of its own: what leaves it over ZMQ, and what it leaves behind."""

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import zmq
from event_model import DocumentNames, schema_validators

from simulated_beamline.beamline import assemble
from simulated_beamline.scenes import ReplayScene
from simulated_beamline.wire import decode
from tests.helpers.rig import free_port

pytestmark = pytest.mark.system

BEAMLINE = [sys.executable, "-m", "simulated_beamline"]
LIMIT_MS = 90_000


class Subscriber:
    """A subscriber that decodes and validates what it gets."""

    def __init__(self, address):
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SUBSCRIBE, b"raw ")
        self._socket.connect(address)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()
        self._context.term()

    def until_stop(self):
        """Yield (name, document) up to the stop document."""
        name = ""
        while name != "stop":
            assert self._socket.poll(LIMIT_MS), "the beamline has fallen silent"
            _, word, body = self._socket.recv().split(b" ", 2)
            name, document = word.decode(), decode(body)
            schema_validators[DocumentNames[name]].validate(document)
            yield name, document


@pytest.fixture
def address():
    return f"tcp://127.0.0.1:{free_port()}"


@pytest.fixture
def start(address, tmp_path):
    """Start the command, waiting for the subscriber, and give its process."""
    started = []

    def run(*arguments, **more):
        command = [*BEAMLINE, *arguments, "--zmq", address, "--output", str(tmp_path / "out")]
        command += ["--json", str(tmp_path / "account.json"), "--wait-for-subscriber", "60"]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def test_a_growth_scan_reaches_a_subscriber_in_another_process(start, address, tmp_path):
    process = start("growth", "--frames", "5", "--rate", "20", "--binning", "4", "--darks", "2")
    with Subscriber(address) as subscriber:
        documents = list(subscriber.until_stop())
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert "5 frames and 2 darks" in out
    account = json.loads((tmp_path / "account.json").read_text())
    assert account["frames_taken"] == 5
    assert account["run_uids"] == [documents[0][1]["uid"]]
    assert account["zmq"]["sent"] == len(documents) == 20
    assert documents[-1][1]["num_events"] == {"dark": 2, "primary": 5}
    for name in ("poni", "mask", "truth"):
        assert Path(account[name]).is_file()


def test_measured_patterns_become_frames(reference, start, address, tmp_path):
    process = start("patterns", str(reference / "patterns_measured"), "--rate", "20")
    with Subscriber(address) as subscriber:
        documents = list(subscriber.until_stop())
    assert process.wait(60) == 0
    assert documents[-1][1]["num_events"] == {"dark": 1, "primary": 7}
    last = [d for name, d in documents if name == "stream_resource"][-1]
    no_data = 2**32 - 1
    with h5py.File(last["uri"].removeprefix("file://localhost")) as file:
        frames = file[last["parameters"]["dataset"]][:]
    mask = np.load(tmp_path / "out" / "mask.npy")
    for frame in frames:
        seen = (frame != no_data) & (mask == 0)
        assert frame[seen].mean() > 1000
    files = [
        json.loads(line)["file"] for line in (tmp_path / "out/truth.jsonl").read_text().splitlines()
    ]
    assert files == sorted(path.name for path in (reference / "patterns_measured").iterdir())


def test_a_recorded_frame_is_replayed_bit_by_bit(reference, start, address, tmp_path):
    import fabio

    process = start("frames", str(reference / "frames"), "--repeat", "2", "--rate", "20")
    with Subscriber(address) as subscriber:
        documents = list(subscriber.until_stop())
    assert process.wait(60) == 0
    (resource,) = [d for name, d in documents if name == "stream_resource"]
    with h5py.File(resource["uri"].removeprefix("file://localhost")) as file:
        frames = file[resource["parameters"]["dataset"]][:]
    with fabio.open(str(reference / "frames" / "CeO2_Pilatus1M.tif")) as image:
        np.testing.assert_array_equal(frames, np.stack([image.data] * 2))
    poni = (reference / "frames" / "CeO2_Pilatus1M.poni").read_bytes()
    assert (tmp_path / "out" / "detector.poni").read_bytes() == poni


def test_an_interrupt_ends_the_run_and_says_so(start, address, tmp_path):
    process = start("growth", "--frames", "500", "--rate", "20", "--binning", "4")
    asked = False
    with Subscriber(address) as subscriber:
        for name, document in subscriber.until_stop():
            # Once: a second signal ends it at once, and frames may be on their way already.
            if name == "event" and document["data"] and not asked:
                process.terminate()
                asked = True
            elif name == "stop":
                stop = document
    process.communicate(timeout=60)
    assert stop["exit_status"] == "abort"
    assert stop["num_events"]["primary"] < 500
    assert process.returncode == 2
    assert json.loads((tmp_path / "account.json").read_text())["exit_status"] == "abort"


READER = """
import sys, h5py
for line in sys.stdin:
    path, row = line.rsplit(" ", 1)
    with h5py.File(path, "r", libver="latest", swmr=True) as file:
        data = file["/entry/data/data"]
        data.refresh()
        print(data.shape[0], int(data[int(row)].sum()), flush=True)
"""


def test_another_process_reads_each_frame_while_the_scan_waits_for_it(tmp_path):
    images = [np.full((40, 50), i + 1, np.uint32) for i in range(4)]
    reader = subprocess.Popen(
        [sys.executable, "-c", READER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    paths, answers = [], []

    def ask(name, document):
        """The scan stands still in here: the file is open for writing."""
        if name == "stream_resource":
            paths.append(document["uri"].removeprefix("file://localhost"))
        elif name == "event":
            reader.stdin.write(f"{paths[-1]} {document['seq_num'] - 1}\n")
            reader.stdin.flush()
            answers.append(tuple(map(int, reader.stdout.readline().split())))

    beamline = assemble(ReplayScene(images, list("abcd")), tmp_path, ("frame_index",), [ask])
    beamline.scan(frames=4, darks=0, period=0.0, metadata={})
    reader.communicate()
    assert answers == [(1, 2000), (2, 4000), (3, 6000), (4, 8000)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["growth", "--share", "65"], "0.65 means 65 %"),
        (["growth", "--plateau-diameter", "99"], "plateau diameter 99 nm is outside"),
        (["growth", "--binning", "3"], "binning 3 is not one of 1, 2, 4"),
        (["patterns", "no/such/folder"], "no/such/folder is not a folder"),
        (["patterns", ".", "--unit", "degrees"], "unit 'degrees' is not one of"),
        (["frames", "."], "holds no TIFF or HDF5 frame"),
        (["growth", "--binning", "4", "--zmq", "nonsense"], "cannot publish at nonsense"),
        (["growth", "--binning", "4", "--output", "/dev/null/x"], "/dev/null"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(capfd, monkeypatch, tmp_path, arguments, words):
    from simulated_beamline.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["qd-beamline", *arguments])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 2
    error = capfd.readouterr().err
    assert words in error
    assert error.startswith("qd-beamline: ")
    assert error.count("\n") == 1


def test_help_imports_nothing_heavy():
    program = (
        "import sys; from simulated_beamline.cli import app; from typer.testing import CliRunner; "
        "assert 'growth' in CliRunner().invoke(app, ['--help']).output; "
        "print(sorted({'numpy', 'bluesky', 'pyFAI', 'h5py', 'zmq', 'tiled'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")
