"""Reading calibrated numbers off a distribution over equidistant bins."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]

CLASSES_NM: Float = np.arange(2.0, 10.01, 0.5)
"""The 17 published classes, nm."""

TWO_SIDED_90 = 1.6449
"""Half-width of the central 90 % of a normal distribution, in its standard deviations."""


def softmax(logits: Float, temperature: float = 1.0) -> Float:
    """Probabilities along the last axis."""
    scaled = logits / temperature
    scaled = scaled - scaled.max(axis=-1, keepdims=True)
    exponent = np.exp(scaled)
    return exponent / exponent.sum(axis=-1, keepdims=True)


def moments(probabilities: Float, centres: Float) -> tuple[Float, Float]:
    """Mean and standard deviation along the last axis."""
    mean = probabilities @ centres
    variance = probabilities @ centres**2 - mean**2
    return mean, np.sqrt(np.maximum(variance, 0.0))


def quantile(probabilities: Float, centres: Float, level: float) -> Float:
    """Quantile of each row (n, bins), every bin being spread evenly over its width."""
    step = centres[1] - centres[0]
    edges = np.append(centres - step / 2, centres[-1] + step / 2)
    rising = np.concatenate(
        [np.zeros((len(probabilities), 1)), np.cumsum(probabilities, axis=1)], axis=1
    )
    ramp = 1e-12 * np.arange(edges.size)  # strictly rising also where a bin is empty
    return np.array([np.interp(level, row + ramp, edges) for row in rising])


def share_group(fraction: Float) -> npt.NDArray[np.intp]:
    """Index of the calibration group of each predicted share: below 10 %, below 40 %, above."""
    return np.searchsorted(np.array([0.1, 0.4]), fraction, side="right")


def with_systematic(
    centre: float, sd: float, limits: tuple[float, float], relative: float
) -> tuple[float, tuple[float, float]]:
    """Add a relative systematic sd in quadrature; give (sd, 90 % interval), units of `centre`."""
    extra = relative * centre
    low, high = (max(0.0, centre - limits[0]), max(0.0, limits[1] - centre))
    reach = TWO_SIDED_90 * extra
    return math.hypot(sd, extra), (
        centre - math.hypot(low, reach),
        centre + math.hypot(high, reach),
    )


def interval(
    probabilities: Float, centres: Float, widen: float | Float, coverage: float = 0.9
) -> tuple[Float, Float]:
    """Central interval of each row, each end moved outwards by `widen` standard deviations."""
    _, sd = moments(probabilities, centres)
    low = quantile(probabilities, centres, 0.5 * (1.0 - coverage)) - widen * sd
    high = quantile(probabilities, centres, 0.5 * (1.0 + coverage)) + widen * sd
    middle = 0.5 * (low + high)
    return np.minimum(low, middle), np.maximum(high, middle)


def class_probabilities(probabilities: Float, centres: Float) -> Float:
    """Sum bins into the published classes, shape (n, 17); sizes beyond go to the outermost."""
    nearest = np.abs(centres[:, None] - CLASSES_NM).argmin(axis=1)
    member = (nearest[:, None] == np.arange(CLASSES_NM.size)).astype(np.float64)
    # A bin that lies on the border between two classes belongs half to each.
    gap = np.abs(np.abs(centres[:, None] - CLASSES_NM) - 0.25)
    border = (gap < 1e-6).sum(axis=1) == 2
    member[border] = 0.5 * (gap[border] < 1e-6)
    return probabilities @ member
