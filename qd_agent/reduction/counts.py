"""What goes from one step of a reduction to the next."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from qd_agent.core.pattern import RawPattern
from qd_agent.reduction.corrections import Dark
from qd_agent.reduction.masking import Bool

Float = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Counts:
    """One exposure, or the sum of several, ready to be integrated.

    Attributes:
        values: float64, in the shape of the stored frames; the integration may write into it.
        invalid: same shape, True where there is no count.
        dark: to subtract, of as many exposures; None for none.
        monitor: of all exposures together; 1 without one.
        flags: 'dark_missing', 'dark_stale', 'monitor_missing', 'saturated_pixels'.
        quality: by the names that `Estimate.quality` explains.
    """

    values: Float
    invalid: Bool
    dark: Dark | None = None
    monitor: float = 1.0
    flags: tuple[str, ...] = ()
    quality: dict[str, float] = field(default_factory=dict[str, float])

    @property
    def has_monitor(self) -> bool:
        """Whether a monitor was read, so that `monitor` is more than a place holder."""
        return "monitor" in self.quality


@dataclass(frozen=True, slots=True)
class Integrated:
    """What counts were summed up to.

    Attributes:
        raw: the pattern, by the monitor.
        flags: 'off_centre'.
        quality: by the names that `Estimate.quality` explains.
    """

    raw: RawPattern
    flags: tuple[str, ...] = ()
    quality: dict[str, float] = field(default_factory=dict[str, float])
