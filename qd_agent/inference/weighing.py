"""What the points of a pattern may be off by, and least squares under it.

Three things disturb a binned pattern: counting noise, which is independent from bin to bin; what a
model of the liquid or of the nanocrystals misses, which is alike in neighbouring bins; and the
liquid itself, of which only a Gaussian prior is known. The first two make a banded covariance, the
liquid one of low rank, so products with the inverse of their sum cost little (Woodbury).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve, cholesky_banded
from scipy.linalg.lapack import (
    dtbtrs,  # pyright: ignore[reportAttributeAccessIssue]  # made at run time
)

Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

REACH = 12
"""Bins over which a model's errors are alike: 0.13 1/Å, the width of a small crystal's peak."""


class Banded:
    """The inverse root of the covariance of noise and of what models miss.

    Args:
        where: indices of the points in use on an even grid, shape (n,), increasing.
        noise: standard deviation of the counting noise there, shape (n,), positive.
        missing: standard deviations (n,) of what models miss, each alike over `reach` points.
        reach: in points of the grid.

    Attributes:
        log_determinant: of the covariance.
    """

    def __init__(
        self, where: npt.NDArray[np.intp], noise: Float, missing: Sequence[Float], reach: int
    ) -> None:
        self._factor = cholesky_banded(_banded(where, noise, missing, reach), lower=True)
        self.log_determinant = 2.0 * float(np.log(self._factor[0]).sum())

    def whiten(self, columns: Float) -> Float:
        """Columns (n, …) in units of the uncertainty, shape (n, …)."""
        solved, _ = dtbtrs(self._factor, columns, uplo="L")
        return np.asarray(solved, dtype=np.float64)


class Weighing:
    """Products of columns with the inverse covariance of one pattern's bins in use.

    Args:
        use: bins in use, shape (bins,).
        noise: standard deviation of the counting noise of the bins in use, shape (n,), positive.
        missing: standard deviations (n,) of what models miss; each is correlated over REACH.
        liquids: shape (bins, k), columns of which standard normal multiples make the background.

    Attributes:
        log_determinant: of the covariance.
    """

    def __init__(self, use: Bool, noise: Float, missing: Sequence[Float], liquids: Float) -> None:
        self.use = use
        self._banded = Banded(np.flatnonzero(use), noise, missing, REACH)
        self._liquids = self.whiten(liquids)
        inner = np.eye(liquids.shape[1]) + self._liquids.T @ self._liquids
        self._inner = cho_factor(inner, lower=True)
        self.log_determinant = self._banded.log_determinant + 2.0 * float(
            np.log(np.diag(self._inner[0])).sum()
        )

    def whiten(self, columns: Float) -> Float:
        """Columns (bins, …) on the bins in use, in units of the uncertainty without the liquid."""
        return self._banded.whiten(columns[self.use])

    def products(self, whitened: Float) -> Float:
        """X' C⁻¹ X of `whitened` columns, shape (m, m)."""
        along = self._liquids.T @ whitened
        return np.asarray(
            whitened.T @ whitened - along.T @ cho_solve(self._inner, along), dtype=np.float64
        )

    def liquid(self, multiples: Float) -> Float:
        """The background of these multiples (k,), whitened, shape (n,)."""
        return np.asarray(self._liquids @ multiples, dtype=np.float64)

    def background(self, whitened: Float) -> Float:
        """Most likely multiples of the liquids (k,) in a whitened rest (n,)."""
        return np.asarray(cho_solve(self._inner, self._liquids.T @ whitened), dtype=np.float64)


def _banded(
    where: npt.NDArray[np.intp], noise: Float, missing: Sequence[Float], reach: int
) -> Float:
    """Lower diagonals of the covariance, shape (reach + 1, n); `where` are the points' indices.

    The correlation is Wendland's ψ₃,₁, (1 − d)⁴ (4 d + 1): positive definite, smooth, zero from
    d = 1 on (Wendland, Adv. Comput. Math. 4, 389 (1995)).
    """
    count = where.size
    bands = np.zeros((reach + 1, count))
    bands[0] = noise**2
    for offset in range(min(reach + 1, count)):
        distance = (where[offset:] - where[: count - offset]) / (reach + 1.0)
        alike = np.maximum(1.0 - distance, 0.0) ** 4 * (4.0 * distance + 1.0)
        for level in missing:
            bands[offset, : count - offset] += level[offset:] * level[: count - offset] * alike
    return bands
