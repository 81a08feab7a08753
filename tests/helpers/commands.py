"""Commands of the agent inside of the test's own process, where starting another costs seconds."""

from __future__ import annotations

import structlog
from typer.testing import CliRunner

from qd_agent.cli import app


def qd_agent(*arguments: object) -> str:
    """Run `qd-agent` with these arguments; give what it says on standard output.

    Raises what stops it.
    """
    configured, before = structlog.is_configured(), structlog.get_config()
    try:
        done = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    finally:  # else the log goes on into the runner's file, which is closed
        if configured:
            structlog.configure(**before)
        else:
            structlog.reset_defaults()
    assert done.exit_code == 0, done.output
    return done.stdout
