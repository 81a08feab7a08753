"""Backgrounds like those of a liquid in a capillary; random, so none can be learned by heart."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]


def liquid_background(q: npt.ArrayLike, rng: np.random.Generator) -> Float:
    """Give a random liquid-like background, shape (nq,), positive, mean 1 over `q` (1/Å).

    A hydrocarbon-like halo at 1.2–1.5 1/Å (a second one beside it as in aromatic liquids, at
    times), weaker maxima near 2.9 and 5.3 1/Å (C–C distances of 1.5 and 2.5 Å), and the smooth sum
    of self-scattering, which falls, and Compton scattering, which rises and levels off.
    """
    x = np.asarray(q, dtype=np.float64)
    halo = _peak(x, rng.uniform(1.2, 1.5), rng.uniform(0.13, 0.3), rng.uniform(0.0, 0.1))
    if rng.random() < 0.4:
        halo = halo + rng.uniform(0.1, 0.6) * _peak(
            x, rng.uniform(1.7, 2.1), rng.uniform(0.2, 0.4), 0.0
        )
    halo = halo + rng.uniform(0.05, 0.25) * _peak(
        x, rng.uniform(2.7, 3.1), rng.uniform(0.3, 0.6), 0.0
    )
    halo = halo + rng.uniform(0.02, 0.1) * _peak(
        x, rng.uniform(5.0, 5.7), rng.uniform(0.5, 0.9), 0.0
    )
    decay = np.exp(-((x / rng.uniform(3.0, 6.0)) ** rng.uniform(1.0, 2.0)))
    compton = -np.expm1(-((x / rng.uniform(3.0, 7.0)) ** 2))
    smooth = rng.uniform(0.05, 0.35) * decay + rng.uniform(0.03, 0.3) * compton + 0.02
    background = halo + smooth
    return background / background.mean()


def _peak(x: Float, centre: float, width: float, skew: float) -> Float:
    """Bell between a Gaussian and a Lorentzian, of height 1; `skew` widens its high side."""
    wide = width * np.where(x > centre, 1.0 + 3.0 * skew, 1.0)
    u = (x - centre) / wide
    return 0.6 * np.exp(-0.5 * u**2) + 0.4 / (1.0 + u**2)
