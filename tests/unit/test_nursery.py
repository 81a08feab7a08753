"""The nursery of the tests: what it forks is a process like any other."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.helpers import nursery

SCRIPT = """
import os, sys
print(sys.argv[1:], os.getcwd(), os.environ["WHERE"], __name__)
print("and wrong", file=sys.stderr)
sys.exit(int(sys.argv[1]))
"""
SLEEPS = "import time; print('up', flush=True); time.sleep(600)"


def started(folder: Path, code: str, *arguments: str, **options: object) -> nursery.Forked:
    (folder / "script.py").write_text(code)
    pipes: dict = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    env = {**os.environ, "WHERE": "here"}
    command = [str(folder / "script.py"), *arguments]
    return nursery.start("bare", command, env=env, cwd=folder, **pipes)


def test_it_says_and_ends_as_a_command_does(tmp_path: Path):
    process = started(tmp_path, SCRIPT, "3", "x y")
    env = {**os.environ, "WHERE": "here"}
    command = [sys.executable, "-P", "script.py", "3", "x y"]
    same = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)  # noqa: PLW1510
    assert process.communicate(timeout=60) == (same.stdout, same.stderr)
    assert process.returncode == same.returncode == 3


def test_an_error_ends_it_with_a_traceback(tmp_path: Path):
    process = started(tmp_path, "1 / 0")
    assert "ZeroDivisionError" in process.communicate(timeout=60)[1]
    assert process.returncode == 1


def test_a_module_is_run_as_main():
    process = nursery.start(
        "bare", ["-m", "qd_agent", "--version"], env=os.environ, stdout=subprocess.PIPE
    )
    assert process.communicate(timeout=60)[0].startswith(b"qd-agent ")
    assert process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_signal_ends_that_process_alone(tmp_path: Path, number: signal.Signals):
    one, other = started(tmp_path, SLEEPS), started(tmp_path, SLEEPS)
    assert one.stdout.readline() == other.stdout.readline() == "up\n"
    assert one.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        one.wait(0.01)
    one.send_signal(number)
    assert one.wait(60) == one.poll() == -number
    assert one.communicate(timeout=60) == ("", "")
    assert other.poll() is None
    other.kill()
    other.communicate(timeout=60)


def test_interrupts_reach_it_as_they_reach_a_command(tmp_path: Path):
    process = started(tmp_path, SLEEPS)
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in process.communicate(timeout=60)[1]
    assert process.returncode == -signal.SIGINT


def test_it_may_lead_a_session_and_holds_no_file_of_others(tmp_path: Path):
    other = started(tmp_path, SLEEPS)
    process = started(tmp_path, SLEEPS, start_new_session=True)
    assert process.stdout.readline() == other.stdout.readline() == "up\n"
    assert os.getsid(process.pid) == process.pid != os.getsid(other.pid)
    assert psutil.Process(process.pid).num_fds() == 3
    for each in (process, other):
        each.kill()
        each.communicate(timeout=60)


def test_what_it_says_may_go_into_a_file(tmp_path: Path):
    with (tmp_path / "log").open("wb") as log:
        process = started(tmp_path, SCRIPT, "0", stdout=log, stderr=log)
    assert process.wait(60) == 0
    assert "and wrong" in (tmp_path / "log").read_text()
