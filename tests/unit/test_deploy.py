"""What `deploy/` gives away fits the program."""

import configparser
import shlex
from pathlib import Path

from typer.testing import CliRunner

from qd_agent.cli import app

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "qd-agent.service"


def test_the_supervisor_starts_the_agent_and_starts_it_again_when_it_fails():
    unit = configparser.ConfigParser()
    unit.optionxform = str  # type: ignore[assignment]  # keys of a unit have capitals
    unit.read(UNIT)
    service = unit["Service"]
    program, command, config = shlex.split(service["ExecStart"])
    assert (Path(program).name, Path(config).suffix) == ("qd-agent", ".yaml")
    assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0
    assert service["Restart"] == "on-failure", "SIGTERM ends it with 0, which is no failure"
    assert float(service["TimeoutStopSec"]) > 5.0, "the time that it needs to end"
