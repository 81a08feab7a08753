"""Ensembles: a lognormal in particle number over the published grid of clusters."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]

LATTICE_PARAMETER = 5.934
"""Cubic lattice parameter of bulk PbS, Å."""

DIAMETER_STEP_NM = 0.2 * (3.0 * LATTICE_PARAMETER**3 / 4.0 / (4.0 * np.pi)) ** (1.0 / 3.0)
"""Spacing of cluster diameters, nm: twice the radius of the sphere that has the volume a³/4 of one
primitive cell (0.4638 nm)."""


def cluster_diameters(max_diameter_nm: float) -> Float:
    """Diameters n × 0.4638 nm, n = 1, 2 ..., up to `max_diameter_nm`."""
    count = int(np.floor(max_diameter_nm / DIAMETER_STEP_NM + 1e-9))
    return DIAMETER_STEP_NM * np.arange(1, count + 1, dtype=np.float64)


def lognormal_weights(diameters: Float, mean_nm: float | Float, dispersion: float | Float) -> Float:
    """Share of particles of each diameter; `mean_nm`, `dispersion` scalars or of shape (n, 1).

    The lognormal has number mean `mean_nm` and relative standard deviation `dispersion` as a
    continuous density; it is sampled on the grid and scaled to sum 1 along the last axis.
    """
    mean = np.asarray(mean_nm, dtype=np.float64)
    width = np.sqrt(np.log1p(np.asarray(dispersion, dtype=np.float64) ** 2))
    centre = np.log(mean) - 0.5 * width**2
    exponent = -0.5 * ((np.log(diameters) - centre) / width) ** 2 - np.log(diameters)
    exponent -= exponent.max(axis=-1, keepdims=True)  # the largest is 1: never all underflow
    weights = np.exp(exponent)
    return weights / weights.sum(axis=-1, keepdims=True)


def averages(diameters: Float, weights: Float) -> tuple[Float, Float]:
    """(number average Σ w D / Σ w, volume-weighted average Σ w D⁴ / Σ w D³), nm, over last axis."""
    number = (weights * diameters).sum(axis=-1) / weights.sum(axis=-1)
    volume = (weights * diameters**4).sum(axis=-1) / (weights * diameters**3).sum(axis=-1)
    return number, volume


def actual_dispersion(diameters: Float, weights: Float) -> Float:
    """Relative standard deviation over the grid; differs from the asked one where it is narrow."""
    number, _ = averages(diameters, weights)
    second = (weights * diameters**2).sum(axis=-1) / weights.sum(axis=-1)
    return np.sqrt(np.maximum(second - number**2, 0.0)) / number


def mean_for_average(diameters: Float, average_nm: float, dispersion: float) -> float:
    """Mean of the continuous lognormal whose number average *over the grid* is `average_nm`.

    Raises:
        ValueError: no such lognormal, because the grid does not reach that far.
    """
    low, high = 0.5 * float(diameters[0]), 2.0 * float(diameters[-1])

    def average(mean: float) -> float:
        return float(averages(diameters, lognormal_weights(diameters, mean, dispersion))[0])

    if not average(low) <= average_nm <= average(high):
        raise ValueError(
            f"no lognormal of dispersion {dispersion:g} averages to {average_nm:g} nm "
            f"over clusters of {diameters[0]:.2f} to {diameters[-1]:.2f} nm"
        )
    for _ in range(60):  # bisection: the average grows with the mean; 60 halvings are exact
        middle = 0.5 * (low + high)
        low, high = (middle, high) if average(middle) < average_nm else (low, middle)
    return 0.5 * (low + high)
