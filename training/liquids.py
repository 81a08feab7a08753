"""The prior of the background that travels with a model: what training's liquids have in common."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from training.dataset import PatternSource

Float = npt.NDArray[np.float64]

DRAWN, AT_ONCE = 20_000, 1_000

COMPONENTS = 40
"""What is left of a background beyond so many is 1e-4 of it (mean over 20 000 draws)."""


def liquid_prior(source: PatternSource, drawn: int = DRAWN) -> Float:
    """Columns (1251, COMPONENTS) whose standard normal multiples are like drawn backgrounds.

    Principal components about zero, each scaled by the root of its mean square; backgrounds have
    mean 1. A background of mean h is h times that.
    """
    second = np.zeros((0, 0))
    count = 0
    while count < drawn:
        rows = source.backgrounds(AT_ONCE)
        second = rows.T @ rows + (second if count else 0.0)
        count += len(rows)
    values, vectors = np.linalg.eigh(second / count)
    largest = np.argsort(values)[::-1][:COMPONENTS]
    return np.asarray(
        vectors[:, largest] * np.sqrt(np.maximum(values[largest], 0.0)), dtype=np.float64
    )
