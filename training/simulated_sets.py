"""Simulated test sets: the Cramér–Rao bound's own model, and draws from the training's priors.

The first two have exactly the nuisances that the bound has (dispersion, lattice scale, B(Pb), B(S),
liquid, cubic background, Poisson noise), on the published grid, without broadening or any other
error: what is left between a method and the bound is the method.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from qd_agent.core.pattern import Pattern, normalize_area
from training.cramer_rao import (
    B_LEAD,
    B_SULFUR,
    LIQUIDS,
    PRIOR_B_LEAD,
    PRIOR_B_SULFUR,
    PRIOR_DISPERSION,
    Parameters,
    PhysicalLimit,
)

if TYPE_CHECKING:
    from training.dataset import PatternSource

Float = npt.NDArray[np.float64]

CENTRES_NM: tuple[float, ...] = tuple(0.5 * n for n in range(4, 21))
"""The published classes, 2.0 to 10.0 nm."""

SIZES_NM: tuple[tuple[float, float], ...] = ((2.0, 3.5), (3.5, 5.5), (5.5, 8.0), (8.0, 10.0))
SHARES: tuple[float, ...] = (0.02, 0.05, 0.15, 0.37, 1.0)
COUNTS: tuple[float, ...] = (214.0, 571.0, 2142.0, 14280.0)
"""Mean counts per point of the four published noise scales: about 71.4 × 3, 8, 30, 200."""

BANDS = len(SIZES_NM) * len(SHARES) * len(COUNTS)

USUAL_DISPERSION = 0.12
LEAST_DISPERSION, LARGEST_DISPERSION = 0.03, 0.30
LEAST_B = 0.3
"""Å²; a Gaussian's tail below it is drawn again."""

LATTICE_SCALE = (0.9975, 1.0051)
"""As published."""

LARGEST_CUBIC = 0.3
"""Of what is not nanocrystals, at most this share is the cubic background."""


@dataclass(frozen=True, slots=True)
class Example:
    """A simulated pattern with its truth; lengths in nm.

    Attributes:
        bound_nm: Cramér–Rao bound at this very truth; None where the model is not the bound's.
        good: an expert would expect a size.
        kind: what it is, when not nanocrystals of PbS: 'nothing' or 'foreign'.
    """

    pattern: Pattern
    diameter_nm: float
    volume_nm: float
    dispersion: float
    share: float
    counts: float
    bound_nm: float | None = None
    good: bool = True
    kind: str = "nanocrystals"


def class_centres(
    limit: PhysicalLimit, count: int, seed: int, *, bounds: bool = False
) -> Iterator[Example]:
    """Number averages at the class centres, dispersion 5–20 %, share 15–100 %, published noise."""
    rng = np.random.default_rng(seed)
    for index in range(count):
        given = _drawn(
            rng,
            dispersion=rng.uniform(0.05, 0.20),
            share=float(rng.choice([0.15, 0.37, 0.65, 1.0])),
            counts=float(rng.choice(COUNTS)),
        )
        centre = CENTRES_NM[index % len(CENTRES_NM)]
        yield _example(limit, limit.with_average(given, centre), rng, bounds=bounds)


def continuous(limit: PhysicalLimit, per_band: int, seed: int) -> Iterator[Example]:
    """Continuous sizes over every band of size × share × counts; dispersion 12 ± 6 %."""
    rng = np.random.default_rng(seed)
    for size, share, counts in itertools.product(SIZES_NM, SHARES, COUNTS):
        for _ in range(per_band):
            given = _drawn(rng, dispersion=_dispersion(rng), share=share, counts=counts)
            yield _example(limit, limit.with_average(given, rng.uniform(*size)), rng, bounds=True)


def _dispersion(rng: np.random.Generator) -> float:
    while True:
        value = float(rng.normal(USUAL_DISPERSION, PRIOR_DISPERSION))
        if LEAST_DISPERSION <= value <= LARGEST_DISPERSION:
            return value


def _thermal(rng: np.random.Generator, usual: float, sd: float) -> float:
    while True:
        value = float(rng.normal(usual, sd))
        if value >= LEAST_B:
            return value


def _drawn(
    rng: np.random.Generator, *, dispersion: float, share: float, counts: float
) -> Parameters:
    cubic = rng.dirichlet(np.ones(4)) * rng.uniform(0.0, LARGEST_CUBIC) * (1.0 - share)
    return Parameters(
        mean_nm=4.0,
        dispersion=dispersion,
        lattice_scale=rng.uniform(*LATTICE_SCALE),
        b_lead=_thermal(rng, B_LEAD, PRIOR_B_LEAD),
        b_sulfur=_thermal(rng, B_SULFUR, PRIOR_B_SULFUR),
        share=share,
        counts=counts,
        cubic=(float(cubic[0]), float(cubic[1]), float(cubic[2]), float(cubic[3])),
        liquid=LIQUIDS[int(rng.integers(len(LIQUIDS)))],
    )


def _example(
    limit: PhysicalLimit, given: Parameters, rng: np.random.Generator, *, bounds: bool
) -> Example:
    number, volume = limit.averages_nm(given)
    return Example(
        pattern=counted(limit.expected(given), rng),
        diameter_nm=number,
        volume_nm=volume,
        dispersion=given.dispersion,
        share=given.share,
        counts=given.counts,
        bound_nm=limit.bound_nm(given) if bounds else None,
    )


def counted(expected: Float, rng: np.random.Generator) -> Pattern:
    """Poisson counts around `expected` (5004,), normalized to the published area."""
    counts = rng.poisson(np.maximum(expected, 0.0)).astype(np.float64)
    covered = np.ones_like(counts)
    return normalize_area(Pattern(counts, np.sqrt(counts), covered))


GOOD_SIGNAL, GOOD_SHARE, GOOD_SIZES_NM = 1.0, 0.02, (1.5, 10.5)
"""Good patterns: share × √counts, share, and size. At 2 % and 2500 counts, or 10 % and 100, the
strongest peaks stand a few sigma above the noise."""

KINDS = ("nanocrystals", "nothing", "foreign")


def from_priors(source: PatternSource, count: int) -> Iterator[Example]:
    """Draws from the training's own priors: every window, background, error and noise."""
    left = count
    while left > 0:
        batch = source.batch(min(left, 256))
        left -= len(batch.diameter)
        yield from _from_batch(
            {
                name: np.asarray(getattr(batch, name).cpu().numpy(), dtype=np.float64)
                for name in (
                    "intensity", "coverage", "diameter", "volume", "dispersion", "fraction",
                    "kind", "counts", "resolution",
                )
            }
        )  # fmt: skip


def _from_batch(batch: dict[str, Float]) -> Iterator[Example]:
    for row in range(len(batch["diameter"])):
        kind = KINDS[int(batch["kind"][row])]
        share, counts = float(batch["fraction"][row]), float(batch["counts"][row])
        size = float(batch["diameter"][row])
        clear = share >= GOOD_SHARE and share * counts**0.5 >= GOOD_SIGNAL
        intended = GOOD_SIZES_NM[0] <= size <= GOOD_SIZES_NM[1]
        yield Example(
            pattern=replace(
                unbinned(batch["intensity"][row], batch["coverage"][row]),
                resolution=float(batch["resolution"][row]),
            ),
            diameter_nm=size,
            volume_nm=float(batch["volume"][row]),
            dispersion=float(batch["dispersion"][row]),
            share=share,
            counts=counts,
            good=kind == KINDS[0] and clear and intended,
            kind=kind,
        )


def unbinned(intensity: Float, coverage: Float) -> Pattern:
    """Put bins (1251,) back on the published grid, every point the value of its bin.

    Binning gives the same bins again.
    """
    factor = Pattern(intensity, intensity, coverage).grid.size // intensity.size
    values = np.repeat(intensity, factor)
    return Pattern(
        values, np.zeros_like(values), np.repeat(np.where(coverage > 0.5, 1.0, 0.0), factor)
    )
