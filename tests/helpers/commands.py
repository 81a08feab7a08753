"""Commands of the agent inside of the test's own process, where starting another costs seconds."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from subprocess import CompletedProcess
from unittest.mock import patch

import structlog
from typer.testing import CliRunner

from qd_agent.cli import app, main


def qd_agent(*arguments: object) -> str:
    """Run `qd-agent` with these arguments; give what it says on standard output.

    Raises what stops it.
    """
    with _own_log():
        done = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def ended(*arguments: object, env: Mapping[str, str] | None = None) -> CompletedProcess[str]:
    """Run `qd-agent` to its end, whatever that is; `run` would end the test's process.

    An error that nobody catches is raised, where a process would print a traceback. `env` is
    added to the environment.
    """
    said, complained = StringIO(), StringIO()
    command = ["qd-agent", *(str(a) for a in arguments)]
    code: object = 0
    with (
        _own_log(),
        patch.object(sys, "argv", command),
        patch.dict(os.environ, env or {}),
        redirect_stdout(said),
        redirect_stderr(complained),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code
    number = code if isinstance(code, int) else int(code is not None)
    return CompletedProcess(command, number, said.getvalue(), complained.getvalue())


@contextmanager
def _own_log() -> Iterator[None]:
    """Leave the log as it was: else it goes on into a file that is closed."""
    configured, before = structlog.is_configured(), structlog.get_config()
    try:
        yield
    finally:
        if configured:
            structlog.configure(**before)
        else:
            structlog.reset_defaults()
