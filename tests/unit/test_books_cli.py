"""The books from the command line, beside a ledger that no agent uses."""

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from qd_agent.cli import app
from qd_agent.config import SINKS
from qd_agent.core.errors import Mistake
from qd_agent.core.frame import Declared, RunClosed, RunOpened
from qd_agent.core.prediction import Estimate, Verdict
from qd_agent.ledger import Ledger
from tests.helpers import records

UID = "3f0c-run"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three frames: two sized, one set aside; the stop counted four."""
    ledger = Ledger(tmp_path / "ledger.sqlite", "pbs-1", SINKS)
    ledger.open_run(RunOpened(UID, 1.0, {}))
    bad = Estimate(verdict=Verdict.BAD_FRAME, reason="it is truncated")
    for n, estimate in ((1, records.sized()), (2, records.sized()), (3, bad)):
        ledger.see(records.reference(UID, seq_num=n))
        prediction = records.prediction(UID, seq_num=n, estimate=estimate)
        ledger.predict(prediction, None, None)
    ledger.close_run(RunClosed(UID, 2.0, "success", "", {"primary": 4}))
    ledger.close()
    return tmp_path


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_runs_says_what_is_missing_and_its_exit_code_says_so_too(data: Path):
    done = call("runs", "--data", str(data), "--json")
    (run,) = json.loads(done.stdout)
    assert done.exit_code == 1
    assert (run["uid"], run["expected"], run["seen"], run["missing"]) == (UID, 4, 3, 1)
    assert (run["sized"], run["set_aside"]) == (2, 1)
    shown = call("runs", "--data", str(data))
    assert UID in shown.stdout


def test_set_aside_frames_are_listed_with_their_reason(data: Path):
    done = call("set-aside", "list", "--data", str(data), "--run", "3f0c")
    assert "frame 3" in done.stdout
    assert "truncated" in done.stdout


def test_a_retried_frame_is_open_again(data: Path):
    done = call("set-aside", "retry", "--data", str(data), "--frame", "3")
    assert "1 frames are to be tried anew" in done.stdout
    (run,) = json.loads(call("runs", "--data", str(data), "--json").stdout)
    assert (run["set_aside"], run["open"]) == (0, 1)
    again = call("set-aside", "retry", "--data", str(data))
    assert "no such frame" in again.stdout


def test_a_wavelength_that_was_put_right_is_looked_at_again(tmp_path: Path):
    conflict = "the wavelength is 0.2 Å in start.w but 0.1 Å in start.v: they differ by more than"
    reference = replace(
        records.reference(), declared=Declared({"wavelength": 0.2}, "start.w", (), conflict)
    )
    (tmp_path / "agent").mkdir()
    ledger = Ledger(tmp_path / "agent" / "ledger.sqlite", "pbs", SINKS)
    ledger.open_run(RunOpened(reference.key.run_uid, 1.0, {}))
    ledger.see(reference)
    bad = Estimate(verdict=Verdict.BAD_FRAME, reason=conflict)
    ledger.predict(records.prediction(estimate=bad), None, None)
    config = tmp_path / "agent.yaml"
    config.write_text("{data: agent, reduction: {poni: a.poni}, metadata: {wavelength: start.v}}\n")
    assert "1 frames are to be tried anew" in call("set-aside", "retry", str(config)).stdout
    todo = ledger.next_retry(time.time())
    ledger.close()
    assert todo is not None
    assert todo.reference.declared == Declared({"wavelength": 0.1}, "start.v")


def test_a_folder_without_a_ledger_and_an_unknown_run_are_named(data: Path, tmp_path: Path):
    missing = call("runs", "--data", str(tmp_path / "none"))
    assert isinstance(missing.exception, Mistake)
    assert "no ledger" in str(missing.exception)
    unknown = call("runs", "--data", str(data), "--run", "zzz")
    assert "no run 'zzz'" in str(unknown.exception)
