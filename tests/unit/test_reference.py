"""The configuration reference is what the settings say."""

from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from qd_agent.reference import render, render_schema

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("name", "current"),
    [("configuration.md", render), ("configuration.schema.json", render_schema)],
)
def test_the_reference_is_current(name: str, current):
    stored = (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")
    assert stored == current(), "run: python -m qd_agent.reference"


def test_every_setting_has_a_meaning():
    assert "| None |" not in render()


def test_the_examples_fit_the_schema():
    import json

    schema = json.loads(render_schema())
    for path in (ROOT / "deploy" / "examples").glob("*.yaml"):
        jsonschema.validate(YAML(typ="safe").load(path.read_text()), schema)
