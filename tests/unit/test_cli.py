"""The command line answers at once, and its help says what each command does."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "pyFAI", "tiled", "h5py", "redis", "zmq", "matplotlib", "scipy", "numpy")


def python(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True)


def test_help_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['qd-agent', '--help']\n"
        "from qd_agent.cli import main\n"
        "try: main()\n"
        "except SystemExit as done: assert not done.code\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)\n"
    )
    done = python(code)
    assert done.stderr.strip() == "[]"
    for command in (
        "run",
        "size",
        "status",
        "check",
        "demo",
        "runs",
        "reconcile",
        "set-aside",
        "keys",
    ):
        assert command in done.stdout


@pytest.mark.parametrize(
    "command",
    ["run", "size", "status", "check", "demo", "runs", "reconcile", "set-aside retry", "keys"],
)
def test_each_command_has_an_example(command: str):
    done = subprocess.run(
        [sys.executable, "-m", "qd_agent", *command.split(), "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Example" in done.stdout
    assert f"qd-agent {command}" in done.stdout


def test_the_version_is_shown():
    done = python("import sys; sys.argv[1:] = ['--version']; from qd_agent.cli import main; main()")
    assert done.stdout.startswith("qd-agent ")
