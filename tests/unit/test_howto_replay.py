"""The page on last year's data: its configuration is one, and its commands are understood."""

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from qd_agent.cli import app
from qd_agent.config import load_config

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "last-years-data.md"
TEXT = PAGE.read_text(encoding="utf-8")
COMMANDS = re.findall(r"(?m)^\s*(qd-agent .*)$|`(qd-agent [^`]*)`", TEXT)


def test_the_configuration_of_the_page_is_valid(tmp_path):
    (block,) = re.findall(r"```yaml\n(.*?)```", TEXT, flags=re.DOTALL)
    path = tmp_path / "last-year.yaml"
    path.write_text("\n".join(line[3:] for line in block.splitlines()))
    config = load_config(path)
    assert config.frames.path_map == {"/detector/disk": "/data/2025"}
    assert config.data == tmp_path / "last-year"


@pytest.mark.parametrize("command", [a or b for a, b in COMMANDS])
def test_the_commands_of_the_page_are_understood(command):
    _, name, *arguments = shlex.split(command.replace("\n", " "))
    group = get_command(app)
    context = group.commands[name].make_context(name, arguments)
    assert context.params["config"]


def test_there_are_commands_on_the_page():
    assert len(COMMANDS) >= 7
