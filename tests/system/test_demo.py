"""The demo as a user runs it: the books agree, solvent gets no size, the plot is drawn."""

import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

pytestmark = pytest.mark.system


def test_the_demo_accounts_for_every_frame(tmp_path: Path):
    summary_file = tmp_path / "s.json"
    command = [sys.executable, "-m", "qd_agent", "demo", "--headless", "--json", str(summary_file)]
    options = ["--frames", "16", "--rate", "2", "--output", str(tmp_path / "out")]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    summary = json.loads(summary_file.read_text())
    counts = {k: summary[k] for k in ("frames_taken", "predictions", "lost", "duplicates")}
    assert counts == {"frames_taken": 16, "predictions": 16, "lost": 0, "duplicates": 0}
    assert summary["sized_without_nanocrystals"] == 0
    assert summary["sized"] + summary["abstained"] == 16
    assert summary["sized"] >= 8
    assert summary["mae_nm"] < 0.25
    assert set(summary["latency_ms"]) == {"p50", "p95", "p99"}
    assert summary["model"]
    redis, tiled = urlsplit(summary["redis_url"]), urlsplit(summary["tiled_uri"])
    assert (redis.hostname, tiled.hostname) == ("127.0.0.1", "127.0.0.1")
    assert summary_file.stat().st_mode & 0o777 == 0o600, "the addresses hold secrets"
    assert redis.password
    assert redis.password not in done.stdout
    assert len(summary["run_uids"]) == 1
    (plot,) = (tmp_path / "out").glob("run-*/growth.png")
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "every frame is accounted for" in done.stdout
