"""`qd-agent watch` as people in ssh use it: once for scripts, and live in a terminal."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.helpers.predictions import refused
from tests.helpers.stage import Stage, frames, stage

__all__ = ["stage"]
pytestmark = pytest.mark.system


def command(stage: Stage, *options: str) -> list[str]:
    return [sys.executable, "-m", "qd_agent", "watch", "--data", str(stage.folder), *options]


def test_once_it_prints_what_redis_holds_and_ends(stage: Stage):
    stage.begin("printed", sample_name="hot injection")
    shown = frames("printed", range(1, 21))
    stage.publish(*shown)
    printed = subprocess.run(
        command(stage, "--once", "--target", "4"), check=True, capture_output=True, text=True
    )
    low, high = shown[-1].interval_nm or (0.0, 0.0)
    for words in ("hot injection", f"{shown[-1].diameter_nm:.2f} nm", f"{low:.2f}", f"{high:.2f}"):
        assert words in printed.stdout
    assert "▁" in printed.stdout
    assert "\x1b" not in printed.stdout, "plain, for scripts"
    assert printed.stderr == ""


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C reaches children, also where the tests themselves run in the background without it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_in_a_terminal_it_follows_the_run_until_it_is_interrupted(stage: Stage):
    stage.begin("followed", sample_name="first sample")
    stage.publish(*frames("followed", range(1, 6)))
    master, slave = pty.openpty()
    watch = subprocess.Popen(
        command(stage), stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    )
    os.close(slave)
    try:
        read_until(master, "first sample")
        stage.publish(refused("followed", 6, "the cell is empty", frame_time=time.time()))
        read_until(master, "the cell is empty")
        stage.begin("next", sample_name="second sample")
        stage.publish(*frames("next", range(1, 6)))
        read_until(master, "second sample")
        watch.send_signal(signal.SIGINT)
        assert "Traceback" not in read_until(master, None)
        assert watch.wait(60) == 0
    finally:
        watch.kill()
        watch.wait()
        os.close(master)


def read_until(terminal: int, words: str | None, patience: float = 60.0) -> str:
    """Read what a program writes until it has written some words, or (None) has ended."""
    deadline, text = time.monotonic() + patience, ""
    while words is None or words not in text:
        ready, _, _ = select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"no {words!r} in {text!r}"
        try:
            read = os.read(terminal, 65536)
        except OSError:  # nobody holds its other end any more
            read = b""
        if not read:
            assert words is None, f"ended before {words!r}: {text}"
            break
        text += read.decode(errors="replace")
    return text
