"""The table of targets: every row that concerns sizing, measured on one model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qd_agent.core.ports import Sizer
from training.attacks import all_attacks
from training.cramer_rao import PhysicalLimit
from training.debye import build_library
from training.evaluation_figures import Scored
from training.reference_rows import debussy_row, find_reference, foreign_patterns, measured_rows
from training.refinement_rows import refinement_row
from training.simulated_rows import (
    Progress,
    as_attacks,
    attack_rows,
    bound_rows,
    calibration_rows,
    class_row,
    refused_row,
    size_examples,
)
from training.simulated_sets import class_centres, continuous, from_priors
from training.target_rows import Row

if TYPE_CHECKING:
    from qd_agent.inference.refinement import Refiner

MAX_CLUSTER_NM = 18.6
"""Largest cluster of the simulated sets: the tail of 10 nm at 25 % dispersion."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How many simulated patterns: class centres, per band, of the training's priors.

    Of 12 000 of the priors one band of size, 1 to 2 nm, holds some 300 good ones: by chance its
    coverage of 90 % strays by 1.7 %.
    """

    centres: int = 850
    per_band: int = 25
    priors: int = 12_000
    seed: int = 7_000


def physical_limit() -> PhysicalLimit:
    """Prepare the bound's model; some seconds."""
    return PhysicalLimit(build_library(MAX_CLUSTER_NM))


def measure(
    sizer: Sizer, refiner: Refiner, reference: Path | None, effort: Effort, progress: Progress
) -> list[Row]:
    """Measure every row; rows whose data are absent say so. Both are of the same model."""
    folder = find_reference(reference)
    progress("reference patterns", 0)
    rows = [debussy_row(sizer, folder), *measured_rows(sizer, folder)]
    rows.append(refinement_row(sizer, refiner, folder, progress))
    limit = physical_limit()
    attacks = as_attacks(foreign_patterns(folder)) + all_attacks(limit, effort.seed)
    rows += attack_rows(sizer, attacks, progress)
    sets = simulated_sets(sizer, effort, progress, limit)
    return [
        *rows,
        class_row(sets[CENTRES]),
        *bound_rows(sets[CONTINUOUS]),
        refused_row(sets[PRIORS]),
        *calibration_rows(sets[PRIORS]),
    ]


CENTRES, CONTINUOUS, PRIORS = "class centres", "continuous sizes", "training priors"


def simulated_sets(
    sizer: Sizer, effort: Effort, progress: Progress, limit: PhysicalLimit | None = None
) -> dict[str, list[Scored]]:
    """Size the three simulated sets; their names are CENTRES, CONTINUOUS and PRIORS.

    The last is of the training's own priors, of a seed that training does not use.
    """
    from training.dataset import PatternSource  # noqa: PLC0415 - torch, and seconds of tables

    seed = effort.seed
    progress("tabulating clusters", 0)
    limit = limit or physical_limit()
    drawn = {
        CENTRES: class_centres(limit, effort.centres, seed, bounds=True),
        CONTINUOUS: continuous(limit, effort.per_band, seed + 1),
        PRIORS: from_priors(PatternSource(seed + 2), effort.priors),
    }
    return {
        name: size_examples(sizer, examples, name, progress) for name, examples in drawn.items()
    }
