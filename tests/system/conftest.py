"""A whole rig for system tests: agent, beamline, and plain clients to read the stores back."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.rig import Rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """An agent's folder with helpers to start processes; stops everything at the end."""
    made = Rig(tmp_path)
    yield made
    made.stop()
