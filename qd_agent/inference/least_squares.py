"""Least squares for nanocrystals over a smooth background, none of them negative.

The Debye part may be bent by shapes (its derivatives, texture, slopes), each held by a prior. All
is done in units of the data's uncertainty, which is read off the data themselves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from scipy.interpolate import BSpline
from scipy.ndimage import uniform_filter1d
from scipy.optimize import nnls

from qd_agent.core.pattern import PUBLISHED_GRID
from qd_agent.inference.network import BIN

Float = npt.NDArray[np.float64]

BIN_STEP = BIN * PUBLISHED_GRID.step
"""Spacing of the bins, 1/Å."""

KNOTS: tuple[float, ...] = (
    0.98, 1.06, 1.14, 1.22, 1.3, 1.38, 1.46, 1.54, 1.62, 1.72, 1.85, 2.05, 2.3, 2.6, 2.9, 3.3,
    3.8, 4.4, 5.0, 5.6, 6.4, 7.5, 9.0, 11.0, 13.0, 15.01
)  # fmt: skip
"""Background spline, 1/Å. Below 1.6 PbS has no reflection, and it follows a liquid's halo closely;
above it bends over 0.5 to 1 1/Å, wider than the peaks of all but the smallest nanocrystals. It
follows simulated and synthetic liquids to 0.2 % of their height; with half as many knots 1 % were
left, which at small shares moved the size by several standard deviations."""

PRIOR_SD: Mapping[str, float] = MappingProxyType(
    {
        "size": 2.0,
        "scale": 0.005,
        "dispersion": 0.07,
        "b_lead": 0.4,
        "b_sulfur": 0.8,
        "lead_real": 2.0,
        "lead_imaginary": 40.0,
        "broadening": 1.5e-4,
        "zero": 0.004,
        "tilt": 0.3,
        "slope": 0.1,
        "curve": 0.1,
        "wave": 0.05,
        "texture_111": 0.3,
        "texture_100": 0.3,
        "texture_110": 0.3,
    }
)
"""How far each shape may move from its usual value (units of the quantity, nm, Å² for B). f' of Pb
and its f''² are -1.4 and 49 at 0.56 Å, -1.8 and 1 at 0.18 Å, -4.3 and 71 at 1.54 Å (Chantler)."""

POSITIVE = ("broadening",)
"""Shapes that an instrument can only add."""

TRUST, TOLERANCE = 0.002, 0.01
"""Of the pattern, added to its noise: what no model describes. The first weighs the points of a
fit, the second is what a residual is judged against."""


@dataclass(frozen=True, slots=True)
class Data:
    """What is fitted, in units of the uncertainty: bins in use, errors, target, background.

    `tolerance` is the uncertainty that residuals are judged against, over `error`; `noise` the
    counting noise of a bin of mean height, over that height; see `noise_unit`.
    """

    use: npt.NDArray[np.bool_]
    error: Float
    tolerance: Float
    target: Float
    splines: Float
    noise: float = 0.0

    @staticmethod
    def of(pattern: Float, coverage: Float, splines: Float, step: float = 0.0) -> Data:
        """From a binned pattern, its coverage (bins below one half are left out), all splines.

        `step` is that of a coarse source, 1/Å, see `Pattern.step`; it counts in `noise` alone. What
        residuals are judged against stays the noise from bin to bin: between points that do not
        repeat each other sharp lines look like noise, and nothing would be too foreign to size.
        """
        use = coverage > 0.5
        measured = pattern[use]
        error = noise(measured, TRUST)
        tolerance = noise(measured, TOLERANCE) / error
        unit = noise_unit(measured, alike_points(step))
        relative = unit / float(np.sqrt(max(measured.mean(), 1e-12)))
        return Data(
            use, error, tolerance, measured / error, splines[use] / error[:, None], relative
        )

    def weigh(self, curve: Float) -> Float:
        """Curve on all bins (1251,) to the bins in use, over their uncertainty."""
        return curve[self.use] / self.error


@dataclass(frozen=True, slots=True)
class Solution:
    """Amplitude, shifts of the shapes in units of their prior's sd, background, cost (χ²)."""

    amplitude: float
    shifts: dict[str, float]
    background: Float
    cost: float


def solve(
    data: Data, plain: Float, columns: dict[str, Float], behind: dict[str, float], usual: float
) -> Solution:
    """Least squares for amplitude a ≥ 0, a·shift of each shape, and a background ≥ 0.

    A shift may have either sign, so its column enters twice (those of POSITIVE once). Its prior is
    a row of the system, scaled by the `usual` amplitude; `behind` is how far its start lies from
    where it is now.
    """
    names = list(columns)
    count = len(names)
    shapes = [data.weigh(columns[n]) * PRIOR_SD[n] for n in names]
    # With shapes, the plain part keeps at least a third of its usual amplitude: they bend it, they
    # must not replace it.
    least = usual / 3.0 if names else 0.0
    debye = data.weigh(plain)
    design = np.column_stack([debye, *shapes, data.splines, data.target - least * debye])
    # The triangular factor has the same minimum and 40 rows instead of 1251.
    factor = np.asarray(np.linalg.qr(design, mode="r"), dtype=np.float64)
    wanted = np.array([behind.get(n, 0.0) / PRIOR_SD[n] for n in names])
    prior = np.zeros((count, factor.shape[1]))
    prior[:, 1 : 1 + count] = np.eye(count) / usual
    prior[:, -1] = wanted
    system = np.concatenate([factor, prior])
    free = np.array([i for i, n in enumerate(names) if n not in POSITIVE], dtype=np.intp)
    mirrored = np.column_stack([system[:, :-1], -system[:, 1 + free]])
    answer, residual = nnls(mirrored, system[:, -1], maxiter=20 * mirrored.shape[1])
    background = answer[1 + count : mirrored.shape[1] - free.size]
    signed = answer[1 : 1 + count].copy()
    signed[free] -= answer[mirrored.shape[1] - free.size :]
    amplitude = least + float(answer[0])
    scale = amplitude if amplitude > 1e-9 else np.inf
    return Solution(
        amplitude=amplitude,
        shifts={n: float(s / scale) for n, s in zip(names, signed, strict=True)},
        background=background,
        cost=float(residual) ** 2,
    )


def spline_basis(q: Float) -> Float:
    """Nonnegative cubic B-splines on KNOTS, shape (nq, number of knots + 2)."""
    knots = np.concatenate([[KNOTS[0]] * 3, KNOTS, [KNOTS[-1]] * 3])
    return np.asarray(BSpline.design_matrix(q, knots, 3).toarray(), dtype=np.float64)


def alike_points(step: float, spacing: float = BIN_STEP) -> int:
    """How many neighbouring points, `spacing` apart, repeat one of a source of that step, 1/Å.

    What was read between the points of a coarse source tells nothing new. 1 where the source is as
    fine as the points, or its step is 0.
    """
    return max(1, math.ceil(step / spacing - 0.01))  # a hundredth for rounding


def noise(y: Float, model: float) -> Float:
    """Standard uncertainty of each point, from the pattern itself.

    Counting noise goes with √y. A share `model` of y is added in quadrature for what no model
    describes.
    """
    level = level_of(y)
    return np.sqrt(noise_unit(y) ** 2 * level + (model * level) ** 2)


def noise_unit(y: Float, alike: int = 1) -> float:
    """Standard uncertainty of a point of height 1, when it goes with √y.

    It comes from second differences (variance 6 σ² for white noise), robustly; of points that do
    not repeat each other. Fits take every point for a new one: where `alike` repeat each other, the
    uncertainty is √alike times that of one, so that all together say no more than the source.
    """
    level = level_of(y)[alike:-alike]
    second = second_differences(y, alike) / np.sqrt(6.0 * level)
    return float(np.median(np.abs(second)) / 0.6745 * np.sqrt(alike)) if second.size else 0.0


def second_differences(y: Float, apart: int = 1) -> Float:
    """Second differences of points so far `apart`, shape (n - 2 · apart,), empty for few points."""
    first = y[apart:] - y[:-apart]
    return first[apart:] - first[:-apart]


def level_of(y: Float) -> Float:
    """Height of a pattern (n,) around each point, never below 2 % of its mean."""
    smooth = uniform_filter1d(y, 15, mode="nearest")
    return np.maximum(smooth, 0.02 * max(float(y.mean()), 1e-9))


def significance(design: Float, coefficients: Float, residual: Float) -> float:
    """Amplitude over its uncertainty; neighbouring residuals that agree count as fewer points."""
    if coefficients[0] <= 0:
        return 0.0
    active = np.flatnonzero(coefficients > 0)
    normal = design[:, active].T @ design[:, active]
    variance = float(np.linalg.pinv(normal)[0, 0])
    # An inverse is at least 1 here; less, and the column was cut off as no more than rounding.
    if variance * normal[0, 0] < 0.5:
        return 0.0
    return float(coefficients[0] / np.sqrt(variance * max(inflation(residual), 1e-12)))


def inflation(residual: Float) -> float:
    """Factor on variances for residuals larger than their uncertainty, or alike over 0.1 1/Å.

    Nine neighbours that agree count as one point, as what no model describes is correlated.
    """
    together = uniform_filter1d(residual, 9, mode="nearest")
    return max(float(np.mean(residual**2)), 9.0 * float(np.mean(together**2)))


def misfit(residual: Float, debye: Float, splines: Float) -> float:
    """Structured residual over the ripple that the Debye part adds beyond any background.

    All in units of the uncertainty; smoothing over nine bins (0.1 1/Å) leaves what has structure.
    One unit (noise, or one percent of the pattern) is added to the ripple: a faint ripple must not
    be blamed for what a spline cannot follow in the background.
    """
    ripple = debye - splines @ np.linalg.lstsq(splines, debye, rcond=None)[0]
    contrast = float(np.mean(uniform_filter1d(ripple, 9, mode="nearest") ** 2))
    white = float(np.mean(np.diff(residual, 2) ** 2)) / 6.0 / 9.0 if residual.size > 2 else 0.0
    structured = float(np.mean(uniform_filter1d(residual, 9, mode="nearest") ** 2)) - white
    return float(np.sqrt(max(structured, 0.0) / (contrast + 1.0)))
