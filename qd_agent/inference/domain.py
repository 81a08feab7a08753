"""When a size is given and when not: the evidence, the limits, and the sentences.

Nothing here knows a file's name or a frame's place in a run; the pattern alone decides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qd_agent.core.pattern import PUBLISHED_GRID
from qd_agent.core.prediction import Verdict
from qd_agent.core.steps import DECISIVE
from qd_agent.inference.artifact import Thresholds
from qd_agent.inference.network import BIN, POINTS

Float = npt.NDArray[np.float64]

# The window that the network was taught: from 2.25 1/Å at the latest to 4.9 at the earliest, with
# up to three gaps. Between lie the reflections 200 (2.12), 220 (2.99), 311, 222 (3.5, 3.7), 400
# (4.24) and 420 (4.73), whose widths carry the size.
LATEST_START, EARLIEST_END = 2.35, 4.8
LEAST_DECISIVE = 2.0
"""Of the decisive range, 1/Å, so much must be covered."""

SIZES_NM = (1.3, 11.0)
"""Sizes that may be given. Training ends at 1.2 and 11.5 nm; what lies beyond is pressed
against these ends with a narrow interval, so nothing near them is believed."""

POINTS_OF_A_PEAK = 3
"""A peak's width at half its height, 2π · 0.9 / diameter, holds so many points at least. With two
sizes come out 10 % too small, with narrow intervals."""

EXPLAINED = 0.1
"""A misfit below this is that of PbS, whatever the network takes it for."""

UNLIKE = 0.3
"""A misfit above this is structure, not noise: a third of the nanocrystals' own ripple."""

BROKEN_SHARE = 0.2
"""More than this share of not finite or clearly negative points is no pattern any more."""


FLAT_TOP = 12
"""Points of a cut-off peak: 0.034 1/Å, half of the narrowest peak. By chance never so many."""


LEVEL = 0.9
"""What is level over so much of its length is no cut-off peak but a flat line."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """No size, and why."""

    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the verdict is made from.

    Attributes:
        nothing, foreign: the network's probabilities of these kinds.
        significance, misfit: of the explaining Debye pattern; see `explanation.Fit`.
        diameter, sd: nm.
        fraction: nanocrystals' share of the area.
    """

    nothing: float
    foreign: float
    significance: float
    misfit: float
    diameter: float
    sd: float
    fraction: float


def check_data(intensity: Float, coverage: Float) -> Refusal | None:
    """Refuse what is no pattern: shapes (5004,); may hold anything."""
    measured = coverage > 0
    if not measured.any():
        return Refusal(
            Verdict.INSUFFICIENT_Q, "no point of the Q grid is covered; check unit and wavelength"
        )
    values = intensity[measured]
    finite = np.isfinite(values)
    if finite.mean() < 1.0 - BROKEN_SHARE:
        return Refusal(
            Verdict.BAD_FRAME, f"{1 - finite.mean():.0%} of the intensities are not numbers"
        )
    values = values[finite]
    if not values.any():
        return Refusal(Verdict.BAD_FRAME, "every intensity is zero: dark or empty frame")
    values = values / np.abs(values).max()  # before any sum, which could overflow
    mean = float(np.mean(values))
    if mean <= 1e-6:
        return Refusal(
            Verdict.BAD_FRAME, "the pattern has no positive area: dark or over-subtracted frame"
        )
    return _check_shape(values, mean)


def _check_shape(values: Float, mean: float) -> Refusal | None:
    """Refuse saturated and over-subtracted patterns; `values` are finite, 1 at most."""
    cut = flat_top(values)
    if FLAT_TOP <= cut < LEVEL * values.size:
        return Refusal(
            Verdict.BAD_FRAME,
            f"saturated: level over {cut} points at its highest, as no measured peak is; expose "
            "shorter",
        )
    # Zero counts are honest in a faint pattern, negative ones come from subtraction only.
    if float((values < -0.1 * mean).mean()) > BROKEN_SHARE:
        return Refusal(
            Verdict.OUT_OF_DOMAIN,
            f"{(values < 0).mean():.0%} of the intensities are negative: too much was subtracted",
        )
    return None


def flat_top(values: Float) -> int:
    """Points around the maximum that are smoother than the noise of the pattern allows, if any.

    A peak has curvature and noise at its top; what a detector or a program cut off has neither,
    also after smooth corrections. Without noise (or between the points of a coarser measurement)
    only what is exactly level counts.
    """
    bends = np.abs(np.diff(values, 2))
    usual = float(np.median(bends)) if bends.size else 0.0
    top = int(np.argmax(values))
    near = 0.97 if usual > 0 else 1.0 - 1e-9
    still = (bends <= 0.02 * usual) & (values[1:-1] >= near * values[top])
    # Runs of points that are still; the longest counts.
    edges = np.flatnonzero(np.diff(np.concatenate([[0], still.astype(np.int8), [0]])))
    runs = edges[1::2] - edges[::2]
    return int(runs.max()) + 2 if runs.size else 0


def check_window(coverage: Float) -> Refusal | None:
    """Refuse windows that cannot carry a size; `coverage` of shape (5004,) on the grid."""

    covered = coverage.reshape(POINTS, BIN).mean(axis=1) > 0.5
    q = PUBLISHED_GRID.values().reshape(POINTS, BIN).mean(axis=1)
    if not covered.any():
        return Refusal(Verdict.INSUFFICIENT_Q, "hardly any point of the Q grid is covered")
    start, end = q[covered][0], q[covered][-1]
    inside = covered & (q > DECISIVE[0]) & (q < DECISIVE[1])
    length = float(inside.sum()) * BIN * PUBLISHED_GRID.step
    if start > LATEST_START or end < EARLIEST_END or length < LEAST_DECISIVE:
        return Refusal(
            Verdict.INSUFFICIENT_Q,
            f"Q = {start:.2f} to {end:.2f} 1/Å is covered, {length:.1f} 1/Å of it between "
            f"{DECISIVE[0]} and {DECISIVE[1]}; a size needs {LATEST_START} to {EARLIEST_END} "
            f"and {LEAST_DECISIVE} 1/Å of that",
        )
    return None


def check_step(diameter: float, step: float) -> Refusal | None:
    """Refuse a size, nm, whose peaks fall between points that are `step` apart, 1/Å."""
    finest = 2.0 * np.pi * 0.9 / (10.0 * max(diameter, 1e-9)) / POINTS_OF_A_PEAK
    if step <= finest:
        return None
    return Refusal(
        Verdict.INSUFFICIENT_Q,
        f"the points are {step:.3f} 1/Å apart; the peaks of nanocrystals of {diameter:.1f} nm need "
        f"{finest:.3f}, so measure or integrate in finer steps (to interpolate adds nothing)",
    )


def judge(evidence: Evidence, limits: Thresholds) -> Refusal | None:
    """Refuse what no nanocrystal of PbS explains, or what does not determine a size."""
    e = evidence
    beyond = not SIZES_NM[0] <= e.diameter <= SIZES_NM[1]
    if beyond and e.significance >= limits.significance and e.misfit <= EXPLAINED:
        return _beyond(e)
    other = _not_nanocrystals(e, limits)
    if other is not None:
        return other
    if beyond:
        return _beyond(e)
    if e.sd > limits.relative_sd * e.diameter:
        return Refusal(
            Verdict.NO_NANOCRYSTALS if e.fraction < 0.02 else Verdict.OUT_OF_DOMAIN,
            f"the pattern does not determine a size: share {e.fraction:.1%}, uncertainty "
            f"{e.sd / max(e.diameter, 1e-9):.0%} of the diameter; count longer",
        )
    return None


def _not_nanocrystals(e: Evidence, limits: Thresholds) -> Refusal | None:
    nothing = e.nothing > limits.nothing or e.significance < limits.significance
    # Where both would refuse, the more probable of them says why.
    if e.foreign > limits.foreign and not (nothing and e.nothing > e.foreign):
        return Refusal(
            Verdict.OUT_OF_DOMAIN,
            f"the pattern is not that of PbS nanocrystals of 1 to 11 nm (probability of "
            f"something else {e.foreign:.2f}, limit {limits.foreign:.2f}; misfit {e.misfit:.2f})",
        )
    if e.nothing <= limits.nothing and e.significance < limits.significance and e.misfit > UNLIKE:
        return Refusal(
            Verdict.OUT_OF_DOMAIN,
            "there are reflections, but no PbS Debye pattern explains them (misfit "
            f"{e.misfit:.2f}): another phase beside it, or strong preferred orientation",
        )
    if nothing:
        return Refusal(
            Verdict.NO_NANOCRYSTALS,
            f"no PbS reflections beyond a smooth background (probability of nothing "
            f"{e.nothing:.2f}, significance of nanocrystals {e.significance:.1f})",
        )
    if e.misfit > limits.misfit:
        return Refusal(
            Verdict.OUT_OF_DOMAIN,
            f"no PbS Debye pattern explains it: the structured residual is {e.misfit:.2f} of the "
            f"nanocrystals' own ripple (limit {limits.misfit:.2f})",
        )
    return None


def _beyond(evidence: Evidence) -> Refusal:
    which = "smaller" if evidence.diameter < SIZES_NM[0] else "larger"
    return Refusal(
        Verdict.OUT_OF_DOMAIN,
        f"the nanocrystals are {which} than what the model sizes, {SIZES_NM[0]} to "
        f"{SIZES_NM[1]} nm",
    )
