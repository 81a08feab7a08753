"""A liquid as a halo that may lie anywhere, in place of components that follow all at once.

Principal components need many terms to follow a maximum that shifts, and all of them together
follow the peaks of small nanocrystals too. Where a liquid is of the usual kind (four maxima, the
self-scattering of its atoms, Compton scattering, and something smooth), the pattern tells its few
parameters, and only what they do near where they lie stays unknown. Both are tried, and the
evidence decides (`ensemble_fit`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]

_TABLE: Float = np.array(
    [
        (1.0, 1.0, 0.02, 9.0),  # height, over the usual
        (1.35, 0.144, 1.0, 1.7),  # the first maximum's centre and width, 1/Å
        (0.235, 0.066, 0.08, 0.45),
        (0.13, 0.2, -0.05, 1.2),  # relative height, centre and width of the next (aromatic ones)
        (1.95, 0.2, 1.5, 2.4),
        (0.35, 0.087, 0.12, 0.7),
        (0.165, 0.08, -0.05, 0.6),  # C–C distances of 2.5 Å
        (2.95, 0.2, 2.4, 3.5),
        (0.475, 0.13, 0.15, 0.9),
        (0.06, 0.035, -0.05, 0.3),  # and of 1.5 Å
        (5.35, 0.32, 4.5, 6.2),
        (0.7, 0.17, 0.25, 1.4),
        (0.2, 0.15, 0.0, 1.2),  # self-scattering's height, range in 1/Å, and power
        (4.75, 1.3, 2.0, 9.0),
        (1.5, 0.29, 0.8, 2.4),
        (0.78, 0.42, 0.0, 3.0),  # Compton scattering over it, and where it rises, 1/Å
        (5.5, 1.44, 2.5, 9.0),
    ]
)
CENTRES, SPREADS, LOWEST, HIGHEST = _TABLE.T
"""Mean, standard deviation, and limits of each parameter: of the liquids that training draws
(`augmentation.liquid`), whose parameters are uniform; the height is free within a factor of two."""

SMOOTH = 0.3
"""Standard deviation of each smooth column, relative to the liquid: air, and a cubic in Q."""

FIRST_MAXIMUM = (1.1, 1.6)
"""1/Å; where the first maximum of the start is looked for."""

STEPS, LEAST_GAIN, EVERY = 12, 0.3, 3
"""Of the search for the start, which looks at one bin in so many."""


def cubic(q: Float) -> Float:
    """Bernstein polynomials of degree 3 over the range of `q`, shape (nq, 4), mean 1."""
    x = (q - q[0]) / (q[-1] - q[0])
    columns = np.stack([(1 - x) ** 3, 3 * x * (1 - x) ** 2, 3 * x**2 * (1 - x), x**3], axis=1)
    return np.asarray(columns / columns.mean(axis=0), dtype=np.float64)


class LiquidFamily:
    """Liquids on `q` (1/Å, shape (nq,)), in units of the usual one, which has mean 1."""

    def __init__(self, q: Float) -> None:
        self._q = q
        self._unit = 1.0
        self._unit = 1.0 / float(self.liquid(CENTRES).mean())
        air = np.stack([q**-power for power in (1.0, 2.0, 4.0)], axis=1)
        self.smooth: Float = SMOOTH * np.column_stack([air / air.mean(axis=0), cubic(q)])

    def liquid(self, at: Float) -> Float:
        """Give the liquid with parameters `at`, shape (nq,)."""
        q = self._q
        halo = _bell(q, at[1], at[2])
        for first in (3, 6, 9):
            halo = halo + at[first] * _bell(q, at[first + 1], at[first + 2])
        compton = -np.expm1(-((q / at[16]) ** 2))
        atoms = np.exp(-((q / at[13]) ** at[14])) + at[15] * compton + 0.02
        return np.asarray(self._unit * at[0] * (halo + at[12] * atoms), dtype=np.float64)

    def around(self, at: Float) -> tuple[Float, Float]:
        """Prior of a liquid near `at`: (offset (nq,), columns (nq, k)).

        Offset plus standard normal multiples of the columns are the liquids whose parameters are
        normal about CENTRES, as far as those near `at` go; the last columns are the smooth ones.
        """
        value, slopes = self._slopes(at)
        return value + slopes @ (CENTRES - at), np.column_stack([slopes * SPREADS, self.smooth])

    def moved(self, at: Float, multiples: Float, part: float) -> Float:
        """Go `part` of the way from `at` to where the multiples of the columns say."""
        wanted = CENTRES + SPREADS * multiples[: CENTRES.size]
        return np.clip(at + part * (wanted - at), LOWEST, HIGHEST)

    def start(self, background: Float, error: Float) -> Float:
        """Parameters of the liquid nearest to a `background` (nq,) that is known to ± `error`."""
        some = LiquidFamily(self._q[::EVERY])
        target, weight = background[::EVERY], np.sqrt(EVERY) / error[::EVERY]
        at = CENTRES.copy()
        inside = (some._q > FIRST_MAXIMUM[0]) & (some._q < FIRST_MAXIMUM[1])
        if inside.any():
            at[1] = some._q[inside][int(target[inside].argmax())]
        return _nearest(some, target, weight, at)

    def _slopes(self, at: Float) -> tuple[Float, Float]:
        """Give the liquid (nq,) and its derivatives by each parameter (nq, 17)."""
        q, height = self._q, self._unit * at[0]
        slopes = np.empty((q.size, at.size))
        halo = np.zeros(q.size)
        for first in (0, 3, 6, 9):
            share = 1.0 if first == 0 else at[first]
            bell, slopes[:, first + 1], slopes[:, first + 2] = _bell_slopes(
                q, at[first + 1], at[first + 2], height * share
            )
            halo += share * bell
            slopes[:, first] = height * bell
        power = (q / at[13]) ** at[14]
        bound, recoil = np.exp(-power), np.exp(-((q / at[16]) ** 2))
        atoms = bound + at[15] * (1.0 - recoil) + 0.02
        scale = height * at[12]
        slopes[:, 12] = height * atoms
        slopes[:, 13] = scale * bound * power * at[14] / at[13]
        slopes[:, 14] = -scale * bound * power * np.log(q / at[13])
        slopes[:, 15] = scale * (1.0 - recoil)
        slopes[:, 16] = -2.0 * scale * at[15] * recoil * q**2 / at[16] ** 3
        shape = halo + at[12] * atoms
        slopes[:, 0] = self._unit * shape
        return height * shape, slopes


def _bell(q: Float, centre: float, width: float) -> Float:
    u = ((q - centre) / width) ** 2
    return 0.6 * np.exp(-0.5 * u) + 0.4 / (1.0 + u)


def _bell_slopes(q: Float, centre: float, width: float, scale: float) -> tuple[Float, Float, Float]:
    """Give a bell (nq,), and `scale` times its derivatives by centre and by width."""
    off = (q - centre) / width
    u = off**2
    normal, wide = np.exp(-0.5 * u), 1.0 / (1.0 + u)
    by_off = -scale * off * (0.6 * normal + 0.8 * wide**2) / width
    return 0.6 * normal + 0.4 * wide, -by_off, -by_off * off


def _nearest(family: LiquidFamily, target: Float, weight: Float, at: Float) -> Float:
    """Levenberg–Marquardt, with the priors."""
    smooth = np.zeros(family.smooth.shape[1])

    def cost(at: Float, smooth: Float) -> float:
        rest = (target - family.liquid(at) - family.smooth @ smooth) * weight
        return float(rest @ rest + (((at - CENTRES) / SPREADS) ** 2).sum() + smooth @ smooth)

    here, damping = cost(at, smooth), 1e-2
    for _ in range(STEPS):
        offset, columns = family.around(at)
        design = columns * weight[:, None]
        normal = design.T @ design + np.eye(columns.shape[1])
        now = np.concatenate([(at - CENTRES) / SPREADS, smooth])
        downhill = design.T @ ((target - offset) * weight) - normal @ now
        moved = now + np.linalg.solve(normal + damping * np.diag(np.diag(normal)), downhill)
        tried = family.moved(at, moved, 1.0)
        there = cost(tried, moved[CENTRES.size :])
        if there < here:
            gained, at, smooth, here = here - there, tried, moved[CENTRES.size :], there
            damping *= 0.2
            if gained < LEAST_GAIN:
                break
        else:
            damping *= 8.0
    return at
