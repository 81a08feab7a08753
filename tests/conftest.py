"""Fixtures that every test may use."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes, and how long it takes to make one, depends on what else the machine
# does; speed belongs to `benchmarks/`.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def reference() -> Path:
    """Folder of real reference data beside the checkout; tests on it skip where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "reference"
    if not folder.is_dir():
        pytest.skip("no reference data: the folder shared/reference beside the checkout is absent")
    return folder
