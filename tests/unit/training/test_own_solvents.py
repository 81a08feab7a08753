"""A user's own liquids as backgrounds."""

from pathlib import Path

import numpy as np
import pytest
import torch

from qd_agent.core.errors import Mistake
from training.dataset import PatternSource
from training.own_solvents import read_solvents

Q = np.arange(1.1, 8.0, 0.01)


def write(path: Path, values: np.ndarray) -> Path:
    np.savetxt(path, np.column_stack([Q, values]), header="Q (1/A), intensity")
    return path


def test_a_liquid_is_smooth_whole_and_of_mean_one(tmp_path: Path):
    liquid = 1.0 + 5.0 * np.exp(-0.5 * ((Q - 1.4) / 0.2) ** 2)
    noisy = np.random.default_rng(0).poisson(liquid * 400.0).astype(float)
    (read,) = read_solvents([write(tmp_path / "mine.xy", noisy)])
    assert read.shape == (1251,)
    assert read.mean() == pytest.approx(1.0, abs=1e-5)
    assert read.argmax() * 0.0112 + 0.99 == pytest.approx(1.4, abs=0.05)
    assert np.abs(np.diff(read[700:])).max() == 0.0  # beyond what was measured


@pytest.mark.parametrize(
    ("content", "says"),
    [("", "mine.xy"), ("1 2\n2 3\n3 4\n", "covers"), ("words only\n", "mine.xy")],
)
def test_what_is_no_pattern_is_named(tmp_path: Path, content: str, says: str):
    path = tmp_path / "mine.xy"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(Mistake, match=says) as caught:
        read_solvents([path])
    assert "\n" not in str(caught.value)


def test_negative_intensities_are_refused(tmp_path: Path):
    with pytest.raises(Mistake, match="positive"):
        read_solvents([write(tmp_path / "mine.xy", np.where(Q > 4, -1.0, 5.0))])


def test_own_liquids_are_drawn(tmp_path: Path):
    spike = 1.0 + 50.0 * np.exp(-0.5 * ((Q - 6.0) / 0.1) ** 2)
    own = read_solvents([write(tmp_path / "spike.xy", spike)])
    source = PatternSource(1, max_diameter_nm=3.0, foreign_patterns=4, solvents=own)
    batch = source.batch(200)
    faint = (batch.fraction < 0.1) & (batch.coverage[:, 447] > 0)
    high = batch.intensity[faint][:, 447] > 2.0 * batch.intensity[faint].mean(dim=1)
    assert 0.2 < high.float().mean() < 0.8
    assert torch.isfinite(batch.intensity).all()
