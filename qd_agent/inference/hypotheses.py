"""What a fit believes before it has seen the pattern, and what may be wrong with one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from qd_agent.inference import least_squares

ENSEMBLE = ("size", "dispersion", "scale", "b_lead", "b_sulfur")
"""What makes the pattern and is no factor in it."""

USUAL_DISPERSION, USUAL_SCALE, USUAL_B_LEAD, USUAL_B_SULFUR = 0.12, 1.001, 1.32, 1.49
"""Centres of the priors; B in Å² as of the published clusters."""

PRIOR_SD: Mapping[str, float] = MappingProxyType(
    {**least_squares.PRIOR_SD, "dispersion": 0.06, "b_lead": 0.3, "b_sulfur": 0.6}
)
"""Standard deviations (nm, Å² for B, 1/Å for the zero shift, else relative). Dispersion and B are
those that the Cramér–Rao bound is taken with; the others are as in `least_squares`."""

LIMITS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "size": (0.7, 14.0),
        "dispersion": (0.02, 0.4),
        "scale": (0.98, 1.02),
        "b_lead": (0.3, 4.0),
        "b_sulfur": (0.3, 7.0),
    }
)

LIQUID_MISSED = 0.001
"""Of the background: what the liquids of the prior do not follow."""

LIQUID_SPREAD, LEAST_LIQUID = 1.5, 0.02
"""The prior of the background is this times wider than training's, and never below this share."""


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What may be wrong: factors that bend the Debye part, and what it misses, relative to it."""

    bends: tuple[str, ...]
    missed: float


_BENDS = ("zero", "tilt", "slope", "curve", "wave", "texture_111", "texture_100", "texture_110")

HYPOTHESES = (
    Hypothesis(("zero",), 0.002),
    Hypothesis(("zero",), 0.01),
    Hypothesis(_BENDS, 0.01),
    Hypothesis(_BENDS, 0.03),
)
"""Clean; uneven by a percent; bent by instrument or texture; bent and rough."""


CLEAN = 1.08
"""χ² per bin below which a pattern is not bent: two standard deviations above 1 for 1251 bins."""
