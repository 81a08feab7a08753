"""A user's own pure patterns become a training and test set: strained, mixed, broadened, noisy.

Patterns that come from one clean pattern are siblings: they never stand on both sides of a split.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from qd_agent.core.errors import BadFrame
from qd_agent.core.pattern import Pattern, RawPattern, normalize_area, resample
from training.background import liquid_background
from training.evaluate import exact_averages, pattern_files
from training.manifest import (
    MANIFEST_NAME,
    Entry,
    EntryReader,
    is_manifest,
    read_manifest,
    write_manifest,
)
from training.pattern_files import Truth, read_pattern, truth_of

Float = npt.NDArray[np.float64]

ARRAYS_NAME = "patterns.npz"
SPLITS = ("training", "validation", "test")


@dataclass(frozen=True, slots=True)
class Clean:
    """A pure pattern with its truth; `identity` is equal for equal patterns under any name."""

    name: str
    pattern: Pattern
    truth: Truth
    number_nm: float | None
    volume_nm: float | None
    identity: str


@dataclass(frozen=True, slots=True)
class Recipe:
    """What every clean pattern is turned into.

    Attributes:
        copies: patterns made of each clean one.
        lattice_scale: range of the homogeneous strain, relative; Q is divided by it.
        shares: nanocrystals' shares of the area to choose from, 0 to 1.
        counts: mean counts per point to choose from.
        broadening: largest standard deviation of the instrument's Gaussian, 1/Å.
        held_back: share of the clean patterns for validation, and for test.
    """

    copies: int = 8
    lattice_scale: tuple[float, float] = (0.9975, 1.0051)
    shares: tuple[float, ...] = (1.0, 0.65, 0.37, 0.15)
    counts: tuple[float, ...] = (214.0, 571.0, 2142.0, 14280.0)
    broadening: float = 0.0
    held_back: float = 0.15
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Sibling:
    """One augmented pattern."""

    clean: Clean
    pattern: Pattern
    share: float
    counts: float
    lattice_scale: float
    split: str


def read_clean(folder: Path, wavelength: float | None = None) -> list[Clean]:
    """Read the pure patterns of a folder, by its manifest when it has one, else by names.

    Raises:
        BadFrame: there are none, or one cannot be read.
    """
    manifest = folder / MANIFEST_NAME if folder.is_dir() else folder
    found: list[Clean] = []
    if is_manifest(manifest):
        reader = EntryReader()
        for entry in read_manifest(manifest):
            pattern = reader.read(entry, wavelength)
            truth, volume = entry.truth, entry.volume_nm
            found.append(_clean(entry.shown.name, pattern, truth, (truth.label_nm, volume)))
    else:
        for path in pattern_files([folder]):
            truth = truth_of(path)
            pattern = read_pattern(path, truth.wavelength or wavelength)
            found.append(_clean(path.name, pattern, truth, exact_averages(truth)))
    if not found:
        raise BadFrame(
            f"{folder}: holds no patterns (text of Q or 2θ and intensity, or a manifest)"
        )
    return found


def _clean(
    name: str, pattern: Pattern, truth: Truth, known: tuple[float | None, float | None]
) -> Clean:
    normal = normalize_area(pattern)
    rounded = np.round(normal.intensity * normal.coverage, 3) + 0.0  # no negative zeros
    identity = hashlib.sha256(rounded.tobytes()).hexdigest()[:12]
    return Clean(name, normal, truth, known[0], known[1], identity)


def assign_splits(identities: Sequence[str], held_back: float, seed: int) -> dict[str, str]:
    """Give every clean pattern, by identity, its split; equal ones share it.

    At least one is for training; with three or more, at least one for each of the others.

    Raises:
        ValueError: `held_back` is not within 0 and 0.45.
    """
    if not 0.0 <= held_back <= 0.45:
        raise ValueError(f"held back {held_back:g}: a share from 0 to 0.45 is asked for")
    unique = sorted(set(identities))
    order = np.random.default_rng(seed).permutation(len(unique))
    few = 0 if len(unique) < 3 or held_back == 0.0 else 1
    aside = min(max(few, round(held_back * len(unique))), (len(unique) - 1) // 2)
    splits = ["test"] * aside + ["validation"] * aside
    splits += ["training"] * (len(unique) - len(splits))
    return {unique[index]: split for index, split in zip(order, splits, strict=True)}


def augment(
    clean: Sequence[Clean], solvents: Sequence[Pattern], recipe: Recipe
) -> Iterator[Sibling]:
    """Make `recipe.copies` of every clean pattern, seeded.

    `solvents` are mixed in where they were measured; without any, synthetic liquids are, each
    drawn anew.
    """
    splits = assign_splits([c.identity for c in clean], recipe.held_back, recipe.seed)
    for index, one in enumerate(clean):
        rng = np.random.default_rng((recipe.seed, index))
        for _ in range(recipe.copies):
            share = float(rng.choice(recipe.shares))
            counts = float(rng.choice(recipe.counts))
            scale = float(rng.uniform(*recipe.lattice_scale))
            pattern = strained(one.pattern, scale)
            pattern = broadened(pattern, recipe.broadening * float(rng.random()))
            if share < 1.0:
                pattern = mixed(pattern, _liquid(pattern, solvents, rng), share)
            pattern = counted(pattern, counts, rng)
            yield Sibling(one, pattern, share, counts, scale, splits[one.identity])


def strained(pattern: Pattern, scale: float) -> Pattern:
    """Pattern of a lattice larger by `scale`: every feature moves from Q to Q / scale."""
    used = pattern.coverage > 0
    raw = RawPattern(pattern.q[used] / scale, pattern.intensity[used], None)
    return resample(raw, pattern.grid)


def broadened(pattern: Pattern, sd: float) -> Pattern:
    """Convolve with a Gaussian of `sd`, 1/Å, over what was measured."""
    if sd <= 0.0:
        return pattern
    from scipy.ndimage import gaussian_filter1d  # noqa: PLC0415 - only when asked for

    points = sd / pattern.grid.step
    weight = gaussian_filter1d(pattern.coverage, points, mode="constant")
    smooth = gaussian_filter1d(pattern.intensity * pattern.coverage, points, mode="constant")
    covered = pattern.coverage > 0
    return replace(pattern, intensity=np.where(covered, smooth / np.maximum(weight, 1e-9), 0.0))


def mixed(pattern: Pattern, liquid: Pattern, share: float) -> Pattern:
    """Add a liquid, so that the first keeps `share` of the area over what both cover.

    Raises:
        BadFrame: they cover nothing in common, or one of them has no area there.
    """
    covered = pattern.coverage * liquid.coverage
    if not covered.any():
        raise BadFrame("the solvent and the pattern cover no Q in common")
    one, other = (
        normalize_area(replace(p, intensity=p.intensity * covered, coverage=covered))
        for p in (pattern, liquid)
    )
    total = share * one.intensity + (1.0 - share) * other.intensity
    return replace(one, intensity=total)


def _liquid(pattern: Pattern, solvents: Sequence[Pattern], rng: np.random.Generator) -> Pattern:
    if solvents:
        return solvents[int(rng.integers(len(solvents)))]
    halo = liquid_background(pattern.q, rng)
    return Pattern(halo, np.zeros_like(halo), np.ones_like(halo), pattern.grid)


def counted(pattern: Pattern, counts: float, rng: np.random.Generator) -> Pattern:
    """Poisson noise for a mean of `counts` per covered point; area as published."""
    covered = pattern.coverage > 0
    mean = float(pattern.intensity[covered].mean())
    expected = np.where(covered, np.maximum(pattern.intensity, 0.0) / mean * counts, 0.0)
    drawn = rng.poisson(expected).astype(np.float64)
    return normalize_area(replace(pattern, intensity=drawn, sigma=np.sqrt(drawn)))


def write_set(folder: Path, siblings: Sequence[Sibling], *, as_text: bool = False) -> Path:
    """Write patterns and their manifest; gives the manifest.

    One `patterns.npz` with `intensity` (n, 5004) float32 and `coverage` uint8, nothing pickled; or,
    `as_text`, one file of Q and intensity for each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names: list[tuple[Path, int | None]] = []
    if as_text:
        for index, s in enumerate(siblings):
            used = s.pattern.coverage > 0
            path = Path(f"{index:05d}_{s.clean.identity}.xy")
            table = np.column_stack([s.pattern.q[used], s.pattern.intensity[used]])
            np.savetxt(folder / path, table, fmt=("%.4f", "%.6e"))
            names.append((path, None))
    else:
        np.savez_compressed(
            folder / ARRAYS_NAME,
            intensity=np.stack([s.pattern.intensity for s in siblings]).astype(np.float32),
            coverage=np.stack([s.pattern.coverage for s in siblings]).astype(np.uint8),
        )
        names = [(Path(ARRAYS_NAME), row) for row in range(len(siblings))]
    manifest = folder / MANIFEST_NAME
    write_manifest(
        manifest, [_entry(p, row, s) for (p, row), s in zip(names, siblings, strict=True)]
    )
    return manifest


def _entry(path: Path, row: int | None, s: Sibling) -> Entry:
    own_share = 1.0 if s.clean.truth.share is None else s.clean.truth.share
    # Diameters count cells of the bulk lattice, here as in every simulation: strain leaves them.
    truth = replace(
        s.clean.truth,
        label_nm=s.clean.number_nm,
        share=own_share * s.share,
        counts=s.counts,
        wavelength=None,
        group=s.clean.truth.group or "augmented",
    )
    return Entry(path, truth, row, s.clean.volume_nm, s.split, f"{s.clean.name} {s.clean.identity}")
