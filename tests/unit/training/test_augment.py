"""A user's own patterns, augmented; siblings never stand on both sides of a split."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from qd_agent.core.errors import BadFrame
from qd_agent.core.pattern import PUBLISHED_GRID, Pattern
from training.augment import (
    SPLITS,
    Recipe,
    assign_splits,
    augment,
    broadened,
    counted,
    mixed,
    read_clean,
    strained,
    write_set,
)
from training.cli import app
from training.manifest import EntryReader, read_manifest

Q = PUBLISHED_GRID.values()


def pattern(values: np.ndarray, q_min: float = 0.0, q_max: float = 99.0) -> Pattern:
    covered = ((q_min <= Q) & (q_max >= Q)).astype(float)
    return Pattern(values * covered, 0.0 * Q, covered)


def bell(centre: float, width: float = 0.1) -> np.ndarray:
    return np.exp(-0.5 * ((Q - centre) / width) ** 2) + 0.05


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    for size in (2.5, 3.0, 4.0, 5.0, 6.0, 7.0):
        table = np.column_stack([Q, bell(2.1, 0.6 / size)])
        np.savetxt(folder / (f"dots_{size:.1f}nm".replace(".", "p") + ".xy"), table)
    return folder


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=80),
    st.floats(0.0, 0.45),
    st.integers(0, 1000),
)
def test_siblings_share_a_split(origins: list[int], held_back: float, seed: int):
    identities = [f"pattern {n}" for n in origins]
    splits = assign_splits(identities, held_back, seed)
    assert set(splits) == set(identities)
    assert set(splits.values()) <= set(SPLITS)
    assert "training" in splits.values()
    assert splits == assign_splits(list(reversed(identities)), held_back, seed)


def test_no_clean_pattern_stands_on_both_sides_of_a_written_set(mine: Path, tmp_path: Path):
    copy = mine / "the_same_under_another_name_2p5nm.xy"
    copy.write_bytes((mine / "dots_2p5nm.xy").read_bytes())
    siblings = list(augment(read_clean(mine), [], Recipe(copies=5, held_back=0.3, seed=4)))
    manifest = write_set(tmp_path / "set", siblings)
    sides: dict[str, set[str]] = {}
    for entry in read_manifest(manifest):
        sides.setdefault(entry.clean.split()[-1], set()).add(entry.split)
    assert len(sides) == 6  # the copy is known for what it is
    assert all(len(side) == 1 for side in sides.values())
    assert set.union(*sides.values()) == set(SPLITS)


def test_strain_moves_features_towards_the_origin():
    moved = strained(pattern(bell(6.0)), 1.01)
    used = moved.coverage > 0
    assert Q[used][moved.intensity[used].argmax()] == pytest.approx(6.0 / 1.01, abs=0.003)
    assert Q[used][-1] == pytest.approx(Q[-1] / 1.01, abs=0.005)


def test_mixing_keeps_the_share_over_what_both_cover():
    one, other = pattern(bell(5.0), 1.0, 9.0), pattern(np.ones_like(Q), 2.0, 12.0)
    total = mixed(one, other, 0.25)
    used = total.coverage > 0
    assert (Q[used][0], Q[used][-1]) == pytest.approx((2.0, 9.0), abs=0.003)
    flat = total.intensity[used].mean() * 0.75
    assert total.intensity[used].min() >= flat * (1 - 1e-9)
    with pytest.raises(BadFrame, match="no Q in common"):
        mixed(pattern(bell(5.0), 1.0, 4.0), pattern(bell(5.0), 6.0, 9.0), 0.5)


def test_broadening_widens_by_the_right_amount_and_invents_nothing_in_gaps():
    clean = pattern(np.exp(-0.5 * ((Q - 5.0) / 0.03) ** 2), 1.0, 9.0)
    wide = broadened(clean, 0.04)
    weights = wide.intensity / wide.intensity.sum()
    assert np.sqrt((weights * (Q - 5.0) ** 2).sum()) == pytest.approx(0.05, rel=0.01)
    assert not wide.intensity[clean.coverage == 0].any()
    assert broadened(clean, 0.0) is clean


def test_noise_is_that_of_the_counts():
    noisy = counted(pattern(np.ones_like(Q), 1.5, 14.0), 400.0, np.random.default_rng(0))
    used = noisy.coverage > 0
    relative = noisy.intensity[used].std() / noisy.intensity[used].mean()
    assert relative == pytest.approx(1 / 20, rel=0.1)


def test_the_command_writes_a_set_that_evaluate_reads(mine: Path, tmp_path: Path):
    solvent = tmp_path / "solvent.xy"
    np.savetxt(solvent, np.column_stack([Q, bell(1.4, 0.2)]))
    out = tmp_path / "set"
    arguments = ["augment", str(mine), "--output", str(out), "--solvent", str(solvent)]
    result = CliRunner().invoke(app, [*arguments, "--copies", "3", "--broadening", "0.01"])
    assert result.exit_code == 0, result.output
    assert "18 patterns from 6 pure ones" in result.output
    entries = read_manifest(out / "manifest.csv")
    reader = EntryReader()
    for entry in entries:
        found = reader.read(entry)
        assert found.intensity.shape == (5004,)
        assert entry.truth.share in (1.0, 0.65, 0.37, 0.15)
        assert entry.truth.label_nm in (2.5, 3.0, 4.0, 5.0, 6.0, 7.0)


def test_text_files_hold_the_same_as_the_arrays(mine: Path, tmp_path: Path):
    siblings = list(augment(read_clean(mine), [], Recipe(copies=1)))
    arrays = write_set(tmp_path / "arrays", siblings)
    texts = write_set(tmp_path / "texts", siblings, as_text=True)
    for one, other in zip(read_manifest(arrays), read_manifest(texts), strict=True):
        left, right = EntryReader().read(one), EntryReader().read(other)
        assert left.coverage == pytest.approx(right.coverage)
        assert left.intensity == pytest.approx(right.intensity, rel=1e-3, abs=1e-3)
        assert one.truth == other.truth


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--shares", "0"], "--shares"),
        (["--shares", "1.5"], "--shares"),
        (["--counts", "many"], "--counts"),
        (["--strain", "1.01", "0.99"], "--strain"),
        (["--solvent", "nowhere.xy"], "no such file"),
    ],
)
def test_impossible_requests_are_one_clear_line(
    mine: Path, tmp_path: Path, extra: list[str], message: str
):
    result = CliRunner().invoke(
        app, ["augment", str(mine), "--output", str(tmp_path / "o"), *extra]
    )
    assert result.exit_code == 2
    assert message in result.output


def test_an_empty_folder_is_named(tmp_path: Path):
    with pytest.raises(BadFrame, match="holds no patterns"):
        read_clean(tmp_path)
