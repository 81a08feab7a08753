"""What a refinement believes before it has seen the pattern: the priors of the training set.

Network and refinement can only be compared when both believe the same. The simulations that the
network learns from draw from flat ranges and from mixtures; here each is a Gaussian of the same
mean and variance, about which a least-squares fit can be told. The ranges are restated from
`training.dataset.Priors`, `training.dataset.PatternSource` and `training.augmentation`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from qd_agent.scattering.reflections import PRINCIPAL

Float = npt.NDArray[np.float64]

TEXTURES = ("111", "100", "110", "311", "331", "210", "211")
"""Directions of the families of reflections, in the order of `scattering.reflections.FAMILIES`."""


@dataclass(frozen=True, slots=True)
class Prior:
    """A Gaussian between hard limits; an infinite `sd` is no preference within the limits."""

    centre: float
    sd: float
    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True, slots=True)
class RefinementPriors:
    """Ranges of the training set, (low, high) of a flat one unless said otherwise.

    Attributes:
        diameter_nm: mean of the lognormal; limits only, as it is flat there.
        usual_dispersion, usual_share, dispersion: the first (mean and sd of a Gaussian) with this
            probability, else flat over the last.
        lattice_scale: strain relative to bulk.
        surface_strain_nm: adds this over the diameter to the lattice scale.
        q_scale, q_scale_share: error of the Q scale, and how many patterns have one. Strain and
            Q scale do the same to a pattern, so one parameter holds both.
        wrong_distance, wrong_distance_share: the same for a distance that nobody refined.
        b_lead, b_sulfur: Å². `b_sulfur_small` adds up to this × 2.5 nm / diameter.
        zero_shift, zero_share: 1/Å, and how many patterns have one.
        tilt, tilt_share: of the amplitude at the lowest Q, falling off with 0.3 1/Å (contrast of
            the shell), and how many patterns have one.
        split, split_share, minor: two lattice scales that differ by flat(split) × flat(0, 1), and
            the second one's part: what one width proportional to Q stands for.
        resolution_error, unnoticed: how well the instrument's Gaussian sd is known, relative, and
            the sd (1/Å) that nobody would notice. It is not fitted freely: broadening and size
            trade against each other.
        smooth: rms of the logarithm of smooth factors (absorption, uncorrected polarization) on
            cos(kπx), k = 1 to 5, x from 0 to 1 over the published grid; by projecting 4000 draws.
        texture: log-uniform strength of preferred orientation, the sd of the logarithm of each
            family's gain (half of it beyond 111, 100 and 110). One pattern in five has it; all are
            given the freedom that those need, as a Gaussian cannot say "rarely, but then a lot".
        lead_real: f' of Pb over the wavelengths drawn (0.16 to 1.54 Å; mean, sd), electrons;
            used only where the wavelength is not known.
    """

    diameter_nm: tuple[float, float] = (1.2, 11.5)
    usual_dispersion: tuple[float, float] = (0.12, 0.05)
    usual_share: float = 0.8
    dispersion: tuple[float, float] = (0.02, 0.30)
    lattice_scale: tuple[float, float] = (0.9975, 1.0051)
    surface_strain_nm: tuple[float, float] = (0.0, 0.005)
    q_scale: float = 0.003
    q_scale_share: float = 0.6
    wrong_distance: float = 0.012
    wrong_distance_share: float = 0.08
    b_lead: tuple[float, float] = (0.8, 2.0)
    b_sulfur: tuple[float, float] = (0.6, 2.6)
    b_sulfur_small: float = 1.0
    zero_shift: float = 0.006
    zero_share: float = 0.5
    tilt: tuple[float, float] = (-0.35, 0.25)
    tilt_share: float = 0.6
    split: float = 0.003
    split_share: float = 0.25
    minor: tuple[float, float] = (0.1, 0.5)
    resolution_error: float = 0.1
    unnoticed: float = 0.001
    smooth: tuple[float, ...] = (0.065, 0.095, 0.057, 0.024, 0.018)
    texture: tuple[float, float] = (0.05, 0.7)
    lead_real: tuple[float, float] = (-3.2, 2.6)

    def gaussians(self, diameter_nm: float, resolution: float, *, free: bool) -> dict[str, Prior]:
        """Priors of every parameter but scale and background, in the order of the fit.

        Args:
            diameter_nm: of the start; small dots have more strain and larger B(S).
            resolution: standard deviation of the instrument's Gaussian, 1/Å, as it is known.
            free: no preference for dispersion and B; their limits stay.
        """
        size = max(diameter_nm, 1.0)
        surface = self.surface_strain_nm[1] / size
        lattice = _middle(self.lattice_scale) + 0.5 * surface
        lattice_sd = math.sqrt(
            _variance(self.lattice_scale)
            + surface**2 / 12.0
            + self.q_scale_share * self.q_scale**2 / 3.0
            + self.wrong_distance_share * self.wrong_distance**2 / 3.0
        )
        extra = self.b_sulfur_small * 2.5 / max(diameter_nm, 2.0)
        held = {
            "dispersion": Prior(*self._dispersion(), 0.02, 0.45),
            "b_lead": Prior(_middle(self.b_lead), _sd(self.b_lead), 0.1, 5.0),
            "b_sulfur": Prior(
                _middle(self.b_sulfur) + 0.5 * extra,
                math.sqrt(_variance(self.b_sulfur) + extra**2 / 12.0),
                0.1,
                9.0,
            ),
        }
        if free:
            held = {name: replace(prior, sd=math.inf) for name, prior in held.items()}
        low, high = self.diameter_nm
        zero = math.sqrt(self.zero_share / 3.0) * self.zero_shift
        return {
            "mean_nm": Prior(diameter_nm, math.inf, 0.7 * low, 1.3 * high),
            **held,
            "lattice_scale": Prior(lattice, lattice_sd, 0.97, 1.03),
            "zero_shift": Prior(0.0, zero, -0.02, 0.02),
            "broadening": Prior(resolution**2, self._broadening(resolution), 0.0, 1e-3),
            "microstrain": Prior(0.0, self._microstrain(), 0.0, 1.6e-5),
            **self._factors(),
        }

    def contrast(self) -> Prior:
        """Prior of f'(Pb) where the wavelength is unknown, electrons."""
        return Prior(*self.lead_real, -12.0, 2.0)

    def _factors(self) -> dict[str, Prior]:
        texture = math.sqrt(_mean_square_log(self.texture))
        return {
            "tilt": Prior(*self._tilt(), -2.0, 2.0),
            **{f"smooth_{k}": Prior(0.0, sd, -1.0, 1.0) for k, sd in enumerate(self.smooth, 1)},
            **{
                f"texture_{name}": Prior(0.0, texture * (1.0 if i < PRINCIPAL else 0.5), -3.0, 3.0)
                for i, name in enumerate(TEXTURES)
            },
        }

    def _dispersion(self) -> tuple[float, float]:
        """Mean and sd of the mixture of a Gaussian, kept within the flat range, and that range."""
        share = self.usual_share
        first, spread = _clipped(*self.usual_dispersion, self.dispersion)
        mean = share * first + (1 - share) * _middle(self.dispersion)
        square = share * (spread**2 + first**2)
        square += (1 - share) * (_variance(self.dispersion) + _middle(self.dispersion) ** 2)
        return mean, math.sqrt(square - mean**2)

    def _tilt(self) -> tuple[float, float]:
        """Mean and sd of a flat number that is 0 in some patterns."""
        mean = self.tilt_share * _middle(self.tilt)
        square = self.tilt_share * (_variance(self.tilt) + _middle(self.tilt) ** 2)
        return mean, math.sqrt(square - mean**2)

    def _broadening(self, resolution: float) -> float:
        """Standard deviation of the instrument's variance, 1/Å²."""
        return math.hypot(2.0 * self.resolution_error * resolution**2, self.unnoticed**2)

    def _microstrain(self) -> float:
        """Rms of the variance m (1 − m) δ² of a mixture of two lattice scales δ apart.

        δ is the product of two flat numbers, so its mean fourth power is split⁴/25.
        """
        fourth = self.split_share * self.split**4 / 25.0 * _mean_square_product(self.minor)
        return math.sqrt(fourth)


def _clipped(mean: float, sd: float, limits: tuple[float, float]) -> tuple[float, float]:
    """Mean and sd of a Gaussian whose tails are put on the limits."""
    edges = np.linspace(-8.0, 8.0, 16_001)
    weights = np.exp(-0.5 * edges**2)
    values = np.clip(mean + sd * edges, *limits)
    middle = float(np.average(values, weights=weights))
    return middle, math.sqrt(float(np.average((values - middle) ** 2, weights=weights)))


def _middle(limits: tuple[float, float]) -> float:
    return 0.5 * (limits[0] + limits[1])


def _variance(limits: tuple[float, float]) -> float:
    return (limits[1] - limits[0]) ** 2 / 12.0


def _sd(limits: tuple[float, float]) -> float:
    return math.sqrt(_variance(limits))


def _mean_square_product(limits: tuple[float, float]) -> float:
    """Mean of (m (1 − m))² for a flat m."""
    low, high = limits
    return sum(
        factor * (high**power - low**power) / power
        for power, factor in ((3, 1.0), (4, -2.0), (5, 1.0))
    ) / (high - low)


def _mean_square_log(limits: tuple[float, float]) -> float:
    """Mean square of a log-uniform number."""
    return (limits[1] ** 2 - limits[0] ** 2) / (2.0 * math.log(limits[1] / limits[0]))


def columns(priors: Mapping[str, Prior]) -> tuple[Float, Float, Float, Float]:
    """(centre, 1/sd, low, high) of each prior, shape (n,)."""
    return (
        np.array([p.centre for p in priors.values()]),
        np.array([1.0 / p.sd for p in priors.values()]),
        np.array([p.low for p in priors.values()]),
        np.array([p.high for p in priors.values()]),
    )
