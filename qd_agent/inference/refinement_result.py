"""What a refinement found, and its record."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qd_agent.inference.refinement_data import Data
from qd_agent.inference.refinement_model import Curves

Float = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Measured:
    """A number and its standard error."""

    value: float
    error: float


@dataclass(frozen=True)
class Refinement:
    """What the fit found.

    Points are weighed by their σ and by what the model misses: a part `missed` of the nanocrystals,
    alike over 0.15 1/Å, the likeliest of those that the live fit knows. Standard errors hold for
    that, and are widened by what residuals exceed it.

    Attributes:
        number, volume: number average Σ w D / Σ w and volume-weighted average Σ w D⁴ / Σ w D³ over
            the cluster grid, nm; `dispersion` the relative sd over it.
        share: nanocrystals' share of the covered area.
        parameters: every parameter; one that ended at a limit is listed in `held`.
        free: names of the rows and columns of `covariance`.
        covariance: shape (n, n), in the parameters' units.
        worst_pair: the two most correlated physical parameters, and their correlation.
        rwp, rexp: √(Σ w (y − m)² / Σ w y²) and √((N − P) / Σ w y²), w of the pattern's own σ.
        reduced_chi2: (rwp / rexp)².
        inflation: what the pattern's own variances would have to be multiplied by for the residual
            to be noise; 1 or more.
        missed: what the model is taken to miss, relative to the nanocrystals' part.
        measured_sigma: σ came with the pattern; else it was estimated as counting noise.
        converged, agreeing, starts: the best search converged; how many of all ended there.
        evaluations: of the Debye model.
        curves, data: on the points that were used.
    """

    number: Measured
    volume: Measured
    dispersion: Measured
    share: float
    parameters: Mapping[str, Measured]
    held: tuple[str, ...]
    free: tuple[str, ...]
    covariance: Float
    worst_pair: tuple[str, str, float]
    rwp: float
    rexp: float
    reduced_chi2: float
    inflation: float
    missed: float
    measured_sigma: bool
    converged: bool
    agreeing: int
    starts: int
    evaluations: int
    curves: Curves
    data: Data

    def record(self) -> dict[str, object]:
        """Give everything as plain numbers, lists and words: what JSON carries."""
        first, second, correlation = self.worst_pair
        values, errors = _pairs(self.parameters)
        return {
            "diameter_nm": self.number.value,
            "diameter_error_nm": self.number.error,
            "diameter_volume_nm": self.volume.value,
            "diameter_volume_error_nm": self.volume.error,
            "dispersion": self.dispersion.value,
            "dispersion_error": self.dispersion.error,
            "nanocrystal_fraction": self.share,
            "parameters": values,
            "errors": errors,
            "at_limit": list(self.held),
            "covariance_of": list(self.free),
            "covariance": self.covariance.tolist(),
            "worst_correlation": {"of": [first, second], "value": correlation},
            "rwp": self.rwp,
            "rexp": self.rexp,
            "reduced_chi2": self.reduced_chi2,
            "error_inflation": math.sqrt(self.inflation),
            "missed": self.missed,
            "sigma": "measured" if self.measured_sigma else "estimated",
            "converged": self.converged,
            "starts": self.starts,
            "starts_agreeing": self.agreeing,
            "evaluations": self.evaluations,
            "curves": {
                "q": _digits(self.data.q),
                "intensity": _digits(self.data.intensity),
                "sigma": _digits(self.data.sigma),
                "model": _digits(self.curves.total),
                "background": _digits(self.curves.background),
            },
        }


def _pairs(parameters: Mapping[str, Measured]) -> tuple[dict[str, float], dict[str, float]]:
    return (
        {name: found.value for name, found in parameters.items()},
        {name: found.error for name, found in parameters.items()},
    )


def _digits(values: Float) -> list[float]:
    """Six significant digits are more than a pattern has."""
    return [float(f"{v:.6g}") for v in values]
