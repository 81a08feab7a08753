"""Recordings: what came is what is read back, whatever happened to the recorder."""

import os
import subprocess
import sys

import numpy as np
import pytest

from qd_agent.core.errors import BadFrame, Mistake
from qd_agent.documents.recording import Recorder, read_recording
from tests.helpers.documents import step_scan

WRITER = """
import os, sys
from pathlib import Path
from qd_agent.documents.recording import Recorder
recorder = Recorder(Path(sys.argv[1]))
for number in range(int(sys.argv[2])):
    recorder.add("stop", {"uid": str(number)})
os.write(recorder._file.fileno(), b'{"t": 1.0, "name": "stop", "do')
print("written", flush=True)
sys.stdin.read()
"""


def documents_in(path):
    return [line.document for line in read_recording(path)]


def test_documents_come_back_as_they_were(tmp_path):
    image = np.arange(6, dtype="<u2").reshape(2, 3)
    documents = [*step_scan(2), ("event", {"data": {"det": image, "n": np.float32(0.5)}})]
    recorder = Recorder(tmp_path / "sub" / "runs.jsonl")
    for name, doc in documents:
        recorder.add(name, doc)
    recorder.close()
    found = documents_in(tmp_path / "sub" / "runs.jsonl")
    assert found[:-1] == documents[:-1]
    data = found[-1][1]["data"]
    assert np.array_equal(data["det"], image)
    assert data["det"].dtype == image.dtype
    assert data["n"] == 0.5
    times = [line.time for line in read_recording(tmp_path / "sub" / "runs.jsonl")]
    assert times == sorted(times)
    assert times[0] > 1e9


def test_a_killed_recorder_spoils_nothing_and_the_next_one_goes_on(tmp_path):
    path = tmp_path / "runs.jsonl"
    command = [sys.executable, "-c", WRITER, str(path), "5"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"written\n"
    assert len(documents_in(path)) == 5, "readable while the recorder is at work"
    process.kill()
    process.communicate()
    assert len(documents_in(path)) == 5
    recorder = Recorder(path)
    recorder.add("stop", {"uid": "later"})
    recorder.close()
    assert [doc["uid"] for _, doc in documents_in(path)] == ["0", "1", "2", "3", "4", "later"]


def test_a_recording_goes_on_in_new_files_and_is_read_as_one(tmp_path):
    path = tmp_path / "runs.jsonl"
    for half in (range(10), range(10, 20)):
        recorder = Recorder(path, rotate_bytes=200)
        for number in half:
            recorder.add("stop", {"uid": str(number)})
        recorder.close()
    assert len(list(tmp_path.iterdir())) > 3
    assert max(file.stat().st_size for file in tmp_path.iterdir()) < 300
    assert [doc["uid"] for _, doc in documents_in(path)] == [str(n) for n in range(20)]


@pytest.mark.parametrize(
    "line",
    [b"nothing", b"[]", b'{"t": 1, "name": "hologram", "doc": {}}', b'{"name": "stop", "doc": 3}',
     b'{"t": "x", "name": "stop", "doc": {}}', b"[" * 100_000, b"\xff\xfe",
     b'{"t": 1, "name": "stop", "doc": {"a": {"$array": "!!"}}}',
     b'{"t": 1, "name": "stop", "doc": {"a": {"$array": "k6NPOA=="}}}'],
)  # fmt: skip
def test_a_line_that_is_none_is_named(tmp_path, line):
    path = tmp_path / "runs.jsonl"
    path.write_bytes(b'{"t": 1, "name": "stop", "doc": {}}\n' + line + b"\n")
    with pytest.raises(Mistake, match=r"runs.jsonl:2: ") as caught:
        documents_in(path)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_written_down_is_refused_whole(tmp_path):
    recorder = Recorder(tmp_path / "runs.jsonl")
    for doc in ({"a": object()}, {"a": np.array([object()])}):
        with pytest.raises(BadFrame, match="cannot be recorded"):
            recorder.add("event", doc)
    recorder.add("stop", {"uid": "a"})
    recorder.close()
    assert len(documents_in(tmp_path / "runs.jsonl")) == 1


def test_there_is_no_recording_where_there_is_none(tmp_path):
    with pytest.raises(Mistake, match="no such recording"):
        documents_in(tmp_path / "none.jsonl")
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(Mistake, match="no such recording"):
        documents_in(tmp_path / "pipe.jsonl")
