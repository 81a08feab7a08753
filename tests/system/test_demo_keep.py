"""`--keep` leaves everything running, at addresses that any client can use, until it is ended."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import redis

pytestmark = pytest.mark.system


def test_what_was_kept_can_be_read_and_two_signals_leave_nothing_behind(tmp_path: Path):
    summary_file = tmp_path / "s.json"
    command = [sys.executable, "-m", "qd_agent", "demo", "--headless", "--keep", "--frames", "4"]
    options = ["--json", str(summary_file), "--output", str(tmp_path / "out")]
    demo = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
    assert demo.stdout is not None
    for line in demo.stdout:
        if line.startswith("still running"):
            break
    summary = json.loads(summary_file.read_text())
    client = redis.Redis.from_url(summary["redis_url"])
    assert client.xlen("qd:predictions") == 4
    client.close()
    family = psutil.Process(demo.pid).children(recursive=True)
    assert any("run" in process.cmdline() for process in family), "the agent is there"
    # As Ctrl-C does; but SIGINT itself may be ignored where the tests run in the background.
    demo.send_signal(signal.SIGTERM)
    demo.send_signal(signal.SIGTERM)
    demo.communicate(timeout=120)
    _, alive = psutil.wait_procs(family, timeout=60)
    assert alive == []
    (log,) = (tmp_path / "out").glob("run-*/agent.log")
    assert "event=stopped" in log.read_text(), "the agent was stopped, not killed"
