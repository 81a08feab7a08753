"""What had come in when the recorder is told to stop is recorded too."""

import os
import signal
from pathlib import Path

import pytest

from qd_agent import recording
from qd_agent.config import Config
from qd_agent.documents.recording import read_recording
from qd_agent.intake import Arrival, DocumentQueue, Intake
from tests.helpers.sources import Source


def test_documents_in_hand_at_the_end_are_recorded_and_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    source = Source([("event", {"n": n}) for n in range(50)])
    monkeypatch.setattr(recording, "open_sources", lambda *_: {"zmq": source})
    looked = recording._next

    def told_to_stop_first(arrivals: DocumentQueue, intakes: list[Intake]) -> Arrival | None:
        assert source.dry.wait(60.0)  # all of it has come in, nothing is recorded yet
        os.kill(os.getpid(), signal.SIGTERM)
        return looked(arrivals, intakes)

    monkeypatch.setattr(recording, "_next", told_to_stop_first)
    config = Config.model_validate({"data": tmp_path, "reduction": {"poni": tmp_path / "a.poni"}})
    recording.record(config, tmp_path / "runs.jsonl", rotate_bytes=1 << 20)
    kept = [doc["n"] for _, (_, doc) in read_recording(tmp_path / "runs.jsonl")]
    assert kept == list(range(50))
    assert sum(source.acknowledged) == 50


def test_after_the_last_run_that_was_wanted_nothing_more_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    source = Source([("start", {}), ("stop", {}), ("start", {}), ("stop", {})])
    monkeypatch.setattr(recording, "open_sources", lambda *_: {"zmq": source})
    config = Config.model_validate({"data": tmp_path, "reduction": {"poni": tmp_path / "a.poni"}})
    recording.record(config, tmp_path / "runs.jsonl", rotate_bytes=1 << 20, runs=1)
    names = [name for _, (name, _) in read_recording(tmp_path / "runs.jsonl")]
    assert names == ["start", "stop"]
    assert sum(source.acknowledged) == 2, "whoever keeps the others keeps them"
