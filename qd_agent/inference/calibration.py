"""What turns the network's and the fit's answers into honest ones; numbers from simulations.

An uncertainty is multiplied by factors for what the pattern is like: its size, share, noise, and
how well it was explained. Together they make 90 % intervals cover 90 % in each of these bands.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

Float = npt.NDArray[np.float64]
Four = tuple[float, float, float, float]
Beliefs = tuple[Four, Four, Four, Four]

SIZE_EDGES_NM = (3.0, 5.0, 8.0)
SHARE_EDGES = (0.05, 0.15, 0.4)
NOISE_EDGES = (0.0035, 0.011, 0.035)
"""Relative uncertainty of a bin of mean height: 20 000, 2 000 and 200 counts per grid point."""
MISFIT_EDGES = (0.03, 0.1, 0.3)
SURETY_EDGES = (0.01, 0.02, 0.05)
"""Relative standard deviation of the size, before it is scaled. Who claims much errs more often:
without these bands, 90 % intervals held 84 % of 213 simulated sizes that claimed less than 1 %, and
93 % of 184 that claimed 1 to 2 %."""
REACH_EDGES = (6.0, 7.5, 12.0)
"""Largest Q, 1/Å. Copper Kα reaches 8.1 at most, and laboratory patterns end at 5 to 7.3."""
LABORATORY_REACH = 7.5

ONES: Four = (1.0, 1.0, 1.0, 1.0)
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

    def bands(self) -> npt.NDArray[np.intp]:
        """Index of the band of each condition, shape (n, 7)."""
        pairs = (
            (SIZE_EDGES_NM, self.size),
            (SHARE_EDGES, self.share),
            (NOISE_EDGES, self.noise),
            (MISFIT_EDGES, self.misfit),
        )
        measured = [np.searchsorted(edges, values) for edges, values in pairs]
        sure = np.searchsorted(SURETY_EDGES, self.surety)
        reach = np.searchsorted(REACH_EDGES, self.reach)
        return np.stack([*measured, np.clip(self.hypothesis, 0, 3), sure, reach], axis=1)


def share_band(fraction: float) -> int:
    """Index of the band of a share."""
    return int(np.searchsorted(SHARE_EDGES, fraction))


class Scaling(BaseModel):
    """Factors on an uncertainty; those of the seven conditions multiply."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Four = Field(default=ONES, description="below 3, 5, 8 nm, above")
    share: Four = Field(default=ONES, description="below 5, 15, 40 %, above")
    noise: Four = Field(default=ONES, description="of a bin: below 0.35, 1.1, 3.5 %, above")
    misfit: Four = Field(default=ONES, description="below 0.03, 0.1, 0.3, above")
    hypothesis: Four = Field(default=ONES, description="clean, uneven, bent, rough")
    surety: Four = Field(default=ONES, description="relative sd below 1, 2, 5 %, above")
    reach: Four = Field(default=ONES, description="Q up to 6, 7.5, 12 1/Å, above")

    def factors(self, conditions: Conditions) -> Float:
        """Factor of every pattern, shape (n,)."""
        table = np.array([getattr(self, name) for name in type(self).model_fields])
        return table[np.arange(len(table)), conditions.bands()].prod(axis=1)


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
        description="factor on the calibrated standard deviation, without the systematic term, "
        "that makes the scale of the classes' t distribution",
    )
    confidence: tuple[float, float] = Field(
        default=(1.0, 0.0),
        description="slope and shift of the logit of the most probable class, so that it is right "
        "as often as it says (Platt's scaling); the others share what is left",
    )

    def fits(self, fraction: float, hypothesis: int) -> tuple[float, float]:
        """Factors on what the fit states for the number and the volume-weighted average."""
        band = share_band(fraction)
        return self.fit[hypothesis][band], self.volume_fit[hypothesis][band]

    def missing(self, size: float, misfit: float, reach: float) -> float:
        """Standard deviation, nm, for physics that the simulations lack."""
        short = reach < LABORATORY_REACH
        relative = self.systematic_laboratory if short else self.systematic
        return relative * size * min(1.0, max(0.0, misfit) / self.structured)
