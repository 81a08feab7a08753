"""The model on disk: whole, untouched, or refused in one line."""

import json
import shutil
from pathlib import Path

import pytest

from qd_agent.core.errors import Fatal
from qd_agent.inference.artifact import CARD, LIBRARY, SHIPPED, WEIGHTS, read_artifact
from training.train import LOG


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED, tmp_path / "model"))


def test_the_shipped_model_is_whole_and_small():
    artifact = read_artifact()
    assert artifact.card.name == "pbs"
    assert len(artifact.sha256) == 64
    assert sum(f.stat().st_size for f in SHIPPED.iterdir()) < 4_000_000
    assert {f.name for f in SHIPPED.iterdir()} == {CARD, LIBRARY, WEIGHTS, LOG}
    assert artifact.card.evaluation["simulated"]


def test_a_copy_is_the_same_model(copy: Path):
    assert read_artifact(copy).sha256 == read_artifact().sha256


@pytest.mark.parametrize("name", [CARD, LIBRARY, WEIGHTS])
def test_a_missing_file_is_named(copy: Path, name: str):
    (copy / name).unlink()
    with pytest.raises(Fatal, match=name):
        read_artifact(copy)


@pytest.mark.parametrize("name", [LIBRARY, WEIGHTS])
def test_one_changed_byte_is_refused(copy: Path, name: str):
    content = bytearray((copy / name).read_bytes())
    content[-5] ^= 1
    (copy / name).write_bytes(bytes(content))
    with pytest.raises(Fatal, match="sha256"):
        read_artifact(copy)


def test_a_broken_card_is_one_line(copy: Path):
    (copy / CARD).write_text("{", encoding="utf-8")
    with pytest.raises(Fatal, match="not a model card") as caught:
        read_artifact(copy)
    assert "\n" not in str(caught.value)


def test_a_card_of_another_network_does_not_fit(copy: Path):
    card = json.loads((copy / CARD).read_text(encoding="utf-8"))
    card["network"]["features"] = 7
    (copy / CARD).write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(Fatal, match="does not fit together"):
        read_artifact(copy)


def test_the_card_of_an_older_version_is_told_from_a_damaged_one(copy: Path):
    card = json.loads((copy / CARD).read_text())
    card |= {"format": 3, "calibration": {"diameter": {"size": [1.0, 1.0, 1.0, 1.0]}}}
    (copy / CARD).write_text(json.dumps(card))
    with pytest.raises(Fatal, match=r"format 3.*reads 4; make the model again with qd-train build"):
        read_artifact(copy)


def test_a_card_of_another_format_is_refused(copy: Path):
    card = json.loads((copy / CARD).read_text(encoding="utf-8"))
    card["format"] = 99
    (copy / CARD).write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(Fatal, match=r"format 99.*; update qd-agent"):
        read_artifact(copy)


def test_a_pickle_in_place_of_weights_is_never_opened(copy: Path):
    import hashlib
    import pickle

    class Bomb:
        def __reduce__(self):
            return (Path.touch, (copy / "ran",))

    evil = pickle.dumps(Bomb())
    (copy / WEIGHTS).write_bytes(evil)
    card = json.loads((copy / CARD).read_text(encoding="utf-8"))
    card["files"][WEIGHTS] = hashlib.sha256(evil).hexdigest()
    (copy / CARD).write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(Fatal):
        read_artifact(copy)
    assert not (copy / "ran").exists()
