"""What turns the network's and the fit's answers into honest ones; numbers from simulations.

An uncertainty is multiplied by a factor for what the pattern is like: its size, share, noise, how
well and by which hypothesis it was explained, how far it was measured. The logarithm of the factor
is linear in features of these conditions (`Conditions.features`), and the weights are such that
90 % intervals cover 90 % of simulations, as nearly as these features tell them apart
(`training.scaling`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Float = npt.NDArray[np.float64]
Four = tuple[float, float, float, float]
Beliefs = tuple[Four, Four, Four, Four]

SHARE_EDGES = (0.05, 0.15, 0.4)
"""Between bands of share that differ in how much say the fit has."""

LABORATORY_REACH = 7.5
"""Largest Q, 1/Å. Copper Kα reaches 8.1 at most, and laboratory patterns end at 5 to 7.3."""

REACHES: Mapping[str, float] = MappingProxyType(
    {"below_6": 6.0, "below_7.5": LABORATORY_REACH, "below_12": 12.0}
)
"""Features that are 1 for a pattern that ends before, 1/Å."""

FAINT: Mapping[str, float] = MappingProxyType(
    {f"share_below_{edge:g}": edge for edge in SHARE_EDGES}
)
"""Features that are 1 for a smaller share: how much say the fit has changes there at once."""

FEATURES = (
    "constant", "size", "share", "noise", "misfit", "surety",
    "size_squared", "noise_squared", "misfit_squared", "surety_squared", "noise_misfit",
    "clean", "uneven", "rough", *REACHES, *FAINT,
)  # fmt: skip
"""Five logarithms that are 0 at USUAL, squares and one product of them. What follows is 0 or 1: the
hypotheses (of `hypotheses.HYPOTHESES` all but the bent one), reaches, and bands of share."""

USUAL, OFFSET = (5.0, 0.5, 0.01, 0.05, 0.03), (0.0, 0.01, 0.001, 0.005, 0.001)
"""Of size in nm, share, noise, misfit and surety. The offset is added to both parts of the ratio:
below it, less of something makes no difference."""

LOWEST, HIGHEST = (1.0, 0.0, 0.0, 0.0, 0.0), (11.5, 1.0, 0.3, 1.0, 0.5)
"""What lies beyond counts as the nearest of these: simulations hardly told of it."""

UNHEARD: Four = (1e3, 1e3, 1e3, 1e3)
"""Leaves the answer to the network."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What patterns are like, each of shape (n,), as far as it can be measured on them."""

    size: Float
    share: Float
    noise: Float
    misfit: Float
    hypothesis: npt.NDArray[np.intp]
    """Index of what the fit found most likely, see `hypotheses.HYPOTHESES`; 3 without a fit."""
    surety: Float
    """Relative standard deviation that is to be scaled."""
    reach: Float
    """Largest Q that was measured, 1/Å."""

    def features(self) -> Float:
        """What factors and confidence depend on, shape (n, features), in the order of FEATURES."""
        measured = np.stack([self.size, self.share, self.noise, self.misfit, self.surety], axis=1)
        # What is no number counts as the largest.
        bounded = np.clip(np.nan_to_num(measured, nan=np.inf), LOWEST, HIGHEST) + OFFSET
        logs = np.log(bounded / (np.array(USUAL) + OFFSET))
        size, _, noise, misfit, surety = logs.T
        hypotheses = [self.hypothesis == kind for kind in (0, 1, 3)]
        ends = [self.reach < limit for limit in REACHES.values()]
        faint = [self.share < edge for edge in FAINT.values()]
        squares = [size**2, noise**2, misfit**2, surety**2]
        others = [*squares, noise * misfit, *hypotheses, *ends, *faint]
        return np.column_stack([np.ones(len(logs)), logs, *others]).astype(np.float64)


def share_band(fraction: float) -> int:
    """Index of the band of a share."""
    return int(np.searchsorted(SHARE_EDGES, fraction))


def _known(weights: dict[str, float]) -> dict[str, float]:
    unknown = sorted(set(weights) - set(FEATURES))
    if unknown:
        raise ValueError(f"no features of these names: {', '.join(unknown)}")
    return weights


Weights = Annotated[dict[str, float], AfterValidator(_known)]


def linear(weights: dict[str, float], conditions: Conditions) -> Float:
    """Sum of the weighted features of every pattern, shape (n,)."""
    row = np.array([weights.get(name, 0.0) for name in FEATURES])
    return conditions.features() @ row


class Scaling(BaseModel):
    """A factor on an uncertainty, by what the pattern is like."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights: Weights = Field(
        default_factory=dict[str, float],
        description="of the features, in the logarithm of the factor; what is not named is 0",
    )
    least: float = Field(default=0.1, gt=0, description="what nearly all simulations had at least")
    most: float = Field(default=100.0, gt=0, description="and at most")

    def factors(self, conditions: Conditions) -> Float:
        """Factor of every pattern, shape (n,)."""
        bounds = (np.log(self.least), np.log(self.most))
        return np.exp(np.clip(linear(self.weights, conditions), *bounds))


class Confidence(BaseModel):
    """How sure the most probable class is: a logistic regression (Platt 1999)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    slope: float = Field(default=1.0, gt=0, description="of the logit of its probability")
    weights: Weights = Field(
        default_factory=dict[str, float], description="of the features, in that logit"
    )

    def line(self, conditions: Conditions) -> tuple[float, float]:
        """Slope and shift of one pattern's logit."""
        return self.slope, float(linear(self.weights, conditions)[0])


class Calibration(BaseModel):
    """Everything that simulations of another seed said about the answers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(default=1.0, gt=0, description="divides the logits of the diameter")
    volume_temperature: float = Field(default=1.0, gt=0, description="of the volume average")
    fit: Beliefs = Field(
        default=(UNHEARD, UNHEARD, UNHEARD, UNHEARD),
        description="factors on the standard deviation that the Debye fit states, one row for "
        "each hypothesis (clean, uneven, bent, rough), for shares below 5, 15, 40 %, and above; "
        "they set how much the fit's size counts beside the network's",
    )
    volume_fit: Beliefs = (UNHEARD, UNHEARD, UNHEARD, UNHEARD)
    diameter: Scaling = Scaling()
    volume: Scaling = Scaling()
    systematic: float = Field(
        default=0.03,
        ge=0,
        description="relative sd of what simulations lack, in quadrature, where the misfit shows "
        "that something lacks: networks trained on simulations alone miss measured labels of 3 to "
        "5 nm by 0.11 nm on average (npj Comput. Mater. 2024, 10.1038/s41524-024-01241-6)",
    )
    systematic_laboratory: float = Field(
        default=0.06,
        ge=0,
        description="the same for patterns that end before 7.5 1/Å; that network misses labels of "
        "laboratory patterns by 0.25 nm on average, 6 % of their diameter",
    )
    structured: float = Field(
        default=0.06,
        gt=0,
        description="misfit from which on it counts in full, below in proportion: what three "
        "quarters of the simulated good patterns stay below",
    )

    classes: float = Field(
        default=1.0,
        gt=0,
        description="factor on the calibrated standard deviation that makes the scale of the "
        "classes' t distribution",
    )
    confidence: Confidence = Confidence()

    def fits(self, fraction: float, hypothesis: int) -> tuple[float, float]:
        """Factors on what the fit states for the number and the volume-weighted average."""
        band = share_band(fraction)
        return self.fit[hypothesis][band], self.volume_fit[hypothesis][band]

    def missing(self, size: float, misfit: float, reach: float) -> float:
        """Standard deviation, nm, for physics that the simulations lack."""
        short = reach < LABORATORY_REACH
        relative = self.systematic_laboratory if short else self.systematic
        return relative * size * min(1.0, max(0.0, misfit) / self.structured)
