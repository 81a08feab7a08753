"""Reading numbers off a distribution over equidistant bins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit, stdtr

Float = npt.NDArray[np.float64]

_SURE = (1e-6, 1.0 - 1e-6)

CLASSES_NM: Float = np.arange(2.0, 10.01, 0.5)
"""The 17 published classes, nm."""

CLASS_FREEDOM = 3.0
"""Degrees of freedom of the t distribution whose sums are the classes: of 1.5 to 6 the best
calibrated on simulations."""


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
    edges = _edges(centres)
    rising = np.concatenate(
        [np.zeros((len(probabilities), 1)), np.cumsum(probabilities, axis=1)], axis=1
    )
    ramp = 1e-12 * np.arange(edges.size)  # strictly rising also where a bin is empty
    return np.array([np.interp(level, row + ramp, edges) for row in rising])


def class_probabilities(mean: float, scale: float) -> tuple[float, ...]:
    """Probabilities of the 17 classes: sums of Student's t about a size, both in nm.

    Errors of sizes have longer tails than a normal distribution: most patterns are read well, and
    some are not. Sizes beyond go to the outermost classes.
    """
    borders = 0.5 * (CLASSES_NM[:-1] + CLASSES_NM[1:])
    below = stdtr(CLASS_FREEDOM, (borders - mean) / max(scale, 1e-6))
    return tuple(float(p) for p in np.diff(np.concatenate([[0.0], below, [1.0]])))


def as_sure_as_right(
    probabilities: Sequence[float], slope: float, shift: float
) -> tuple[float, ...]:
    """Give the classes a confidence that holds: logit p' = slope · logit p + shift of the largest.

    The others keep their proportions, and the largest stays the largest (Platt 1999, "Probabilistic
    outputs for support vector machines").
    """
    given = np.clip(np.asarray(probabilities, dtype=np.float64), 0.0, 1.0)
    top = int(given.argmax())
    rest = given.sum() - given[top]
    said = float(expit(slope * logit(np.clip(given[top], *_SURE)) + shift))
    if rest <= 0.0:
        return tuple(given.tolist())
    least = given.max(initial=0.0, where=np.arange(given.size) != top) / rest
    made = given * ((1.0 - max(said, least / (1.0 + least))) / rest)
    made[top] = max(said, least / (1.0 + least))
    return tuple(made.tolist())


def _edges(centres: Float) -> Float:
    step = centres[1] - centres[0]
    return np.append(centres - step / 2, centres[-1] + step / 2)
