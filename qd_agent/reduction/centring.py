"""Whether the beam centre is where the PONI says: opposite sectors must see the same rings.

A centre that is off by 0.015 1/Å (a pixel of 0.2 mm at 0.28 m and 0.3 Å) smears every ring, and a
smeared ring is what a small nanocrystal makes; nothing in the azimuthal average tells them apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qd_agent.reduction.opposite import Apart, Opposite, Sector

Float = npt.NDArray[np.float64]

SECTORS = 4
"""Of 90° each, around 0°, 90°, 180° and 270°; the first is opposite to the third."""

SIGNIFICANT = 5.0
"""Standard errors beyond which a shift is one: by chance in one of 250 000 frames (two axes)."""

OFF_CENTRE = 0.003
"""Shift above which a frame is flagged, 1/Å.

Averaged over all azimuths a shift widens peaks by a standard deviation of shift/√2. Those of
10 nm have 2π·0.9/D/2.355 = 0.024 1/Å, and become 0.4 % wider: a tenth of what counts.
"""

TOO_FAR = 0.008
"""Shift above which a size would be wrong, 1/Å: peaks of 10 nm become 3 % wider, of 8 nm 2 %, as
much as a narrow interval is wide. Simulated images read 2.5 and 2.2 % less at 0.0075 1/Å, and 9 and
6 % less at 0.015."""

TELLING = TOO_FAR / SIGNIFICANT
"""Standard error up to which finding nothing says something, 1/Å."""


@dataclass(frozen=True, slots=True)
class CentreShift:
    """By how much the beam centre is off, and the standard error of that, 1/Å in Q.

    Where only one pair of sectors can be compared, it is the part along that axis.
    """

    size: float
    error: float

    @property
    def is_significant(self) -> bool:
        """Whether it is more than noise, and more than peaks that disagree."""
        return self.size > SIGNIFICANT * self.error

    @property
    def flags(self) -> tuple[str, ...]:
        """'off_centre' where it matters."""
        return ("off_centre",) if self.is_significant and self.size > OFF_CENTRE else ()

    @property
    def quality(self) -> dict[str, float]:
        """By the names that `Estimate.quality` explains."""
        return {"centre_shift": self.size, "centre_shift_error": self.error}


class Centring:
    """Compares the opposite sectors of one detector."""

    def __init__(self, q: Float, directions: Float) -> None:
        """Take the bins, shape (bins,), 1/Å, and the sectors' mean unit vectors, shape (4, 2)."""
        self._opposite = Opposite(q)
        self._arms: Float = (directions[:2] - directions[2:]) / 2.0

    def shift(self, signal: Float, variance: Float, norm: Float) -> CentreShift | None:
        """Say by how much the centre is off, from sums over sectors and bins, shape (4, bins) each.

        None where no two opposite sectors cover enough of Q, or where their signal would not show
        a shift of `TOO_FAR`: few counts, or nothing but a liquid.
        """
        sectors: list[Sector] = [(signal[n], variance[n], norm[n]) for n in range(SECTORS)]
        found = [self._opposite.apart(sectors[n], sectors[n + 2]) for n in (0, 1)]
        told = [n for n, apart in enumerate(found) if apart is not None and _tells(apart)]
        if not told:
            return None
        halves = np.array([apart.half for apart in found if apart is not None and _tells(apart)])
        errors = np.array([apart.error for apart in found if apart is not None and _tells(apart)])
        if len(told) == 1:
            length = float(np.hypot(*self._arms[told[0]]))
            return CentreShift(abs(float(halves[0])) / length, float(errors[0]) / length)
        return _of_two(self._arms, halves, errors)


def reason(shift: float) -> str:
    """Say what a shift, 1/Å, means for a frame, and what to do."""
    return (
        f"its beam centre is off by {shift:.4f} 1/Å: rings lie at different Q on opposite sides of "
        "the detector, and would be read as small nanocrystals: calibrate the PONI anew, check "
        "reduction.orientation"
    )


def _tells(apart: Apart) -> bool:
    return apart.error <= TELLING or abs(apart.half) > SIGNIFICANT * apart.error


def _of_two(arms: Float, halves: Float, errors: Float) -> CentreShift:
    """Join both axes, each of them seen along its arm."""
    inverse = np.linalg.inv(arms)
    shift = inverse @ halves
    covariance = (inverse * errors**2) @ inverse.T
    size = float(np.hypot(*shift))
    if size == 0.0:
        return CentreShift(0.0, math.sqrt(float(np.trace(covariance)) / 2.0))
    along = shift / size
    return CentreShift(size, math.sqrt(float(along @ covariance @ along)))
