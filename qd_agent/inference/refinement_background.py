"""What lies under the nanocrystals in a refinement, as columns that are added up.

Without a measured solvent: any liquid that training draws (the artifact's prior of it, the same as
in the live fit), so that refinement, network and live fit believe the same. Beside a measured
solvent: the solvent, and nonnegative splines for what else there is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.interpolate import BSpline, CubicSpline

from qd_agent.inference.binned_debye import BINNED_Q

Float = npt.NDArray[np.float64]

KNOTS_BESIDE_SOLVENT: tuple[float, ...] = (0.98, 1.5, 2.4, 3.6, 5.2, 7.4, 10.5, 15.01)
"""Splines beside a measured solvent, 1/Å: what is left is air, Compton and fluorescence; finer
ones would leave nothing for the solvent to say."""


@dataclass(frozen=True, slots=True)
class Background:
    """Columns of the background.

    Attributes:
        names: of the columns.
        columns: shape (points, k).
        precision: 1/sd of each coefficient's prior about 0, shape (k,); 0 is none.
        low: least coefficient, shape (k,).
    """

    names: tuple[str, ...]
    columns: Float
    precision: Float
    low: Float


def liquids(q: Float, prior: Float, height: float) -> Background:
    """Any liquid: `prior` (1251, k) are columns on the bins, for a background of mean 1."""
    columns = height * np.asarray(CubicSpline(BINNED_Q, prior)(q), dtype=np.float64)
    count = columns.shape[1]
    names = tuple(f"background_{i}" for i in range(count))
    return Background(names, columns, np.ones(count), np.full(count, -np.inf))


def beside_solvent(q: Float, solvent: Float) -> Background:
    """A measured solvent (points,) and splines, none of them negative."""
    at = KNOTS_BESIDE_SOLVENT
    knots = np.concatenate([[at[0]] * 3, at, [at[-1]] * 3])
    basis = np.asarray(BSpline.design_matrix(q, knots, 3).toarray(), dtype=np.float64)
    seen = basis.max(axis=0) > 0.02
    names = (*(f"background_{i}" for i in np.flatnonzero(seen)), "solvent")
    columns = np.column_stack([basis[:, seen], solvent])
    return Background(names, columns, np.zeros(len(names)), np.zeros(len(names)))
