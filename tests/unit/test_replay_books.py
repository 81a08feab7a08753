"""Which books a replay keeps: others as soon as anything differs that its numbers depend on."""

from contextlib import ExitStack

import numpy as np
import pytest

from qd_agent.config import Config
from qd_agent.replay_books import books_of, published_otherwise
from qd_agent.workshop import open_workshop

PONI = """\
poni_version: 2
Detector: Detector
Detector_config: {"pixel1": 0.001, "pixel2": 0.001, "max_shape": [40, 50]}
Distance: 0.2
Poni1: 0.02
Poni2: 0.025
Rot1: 0
Rot2: 0
Rot3: 0
Wavelength: 1.839e-11
"""


@pytest.fixture
def config(tmp_path):
    """Two images with a PONI each, one of them with mask and dark file, and a strip."""
    for name in ("main", "second"):
        (tmp_path / f"{name}.poni").write_text(PONI)
    np.save(tmp_path / "mask.npy", np.zeros((40, 50), np.uint8))
    np.save(tmp_path / "dark.npy", np.ones((40, 50)))
    np.save(tmp_path / "axis.npy", np.linspace(0.5, 40.0, 200))
    second = {"poni": tmp_path / "second.poni", "mask": tmp_path / "mask.npy"}
    tree = {
        "data": tmp_path / "agent",
        "reduction": {"poni": tmp_path / "main.poni"},
        "detectors": {
            "second": {**second, "dark": tmp_path / "dark.npy"},
            "strip": {"axis": tmp_path / "axis.npy", "wavelength": 0.18},
        },
    }
    return Config.model_validate(tree)


def books(config, *, published=False):
    with ExitStack() as stack:
        return books_of(config.data, open_workshop(config, stack), published=published)


def test_every_file_of_every_detector_names_the_books(tmp_path, config):
    found = [books(config)]
    assert books(config) == found[0]
    for name in ("main.poni", "second.poni"):
        (tmp_path / name).write_text(PONI.replace("Distance: 0.2", "Distance: 0.21"))
        found.append(books(config))
    changes = {
        "mask.npy": np.eye(40, 50, dtype=np.uint8),
        "dark.npy": np.full((40, 50), 2.0),
        "axis.npy": np.linspace(0.6, 40.0, 200),
    }
    for name, array in changes.items():
        np.save(tmp_path / name, array)
        found.append(books(config))
    assert len(set(found)) == 6, "each change gives books of their own"


def test_settings_name_the_books_and_so_does_whether_answers_are_published(config):
    resolution = config.reduction.model_copy(update={"resolution": 0.01})
    changed = config.model_copy(update={"reduction": resolution})
    found = {books(config), books(changed), books(config, published=True)}
    assert len(found) == 3


def test_kept_books_are_not_asked_for_what_was_published(config):
    path = books(config, published=True)
    path.parent.mkdir()
    (path.parent / path.name.replace("published", "kept")).write_text("no books at all")
    (path.parent / "published-othermodel-settings.sqlite").write_text("no books at all")
    assert published_otherwise(path) == frozenset()
