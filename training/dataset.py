"""Endless, seeded batches of simulated patterns; no two are the same.

The priors are part of every answer that the network gives; they stand in `Priors` and in the card.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from qd_agent.core.pattern import PUBLISHED_GRID
from qd_agent.inference.network import BIN, POINTS
from qd_agent.scattering.ensemble import actual_dispersion, averages, lognormal_weights
from qd_agent.scattering.form_factors import anomalous, f0
from qd_agent.scattering.forward import ClusterLibrary, distances, sinc_table
from training import augmentation
from training.augmentation import Draw
from training.debye import build_library
from training.materials import foreign_bank

Float32 = npt.NDArray[np.float32]

MARGIN_MIN, MARGIN_MAX = 0.83, 15.40
"""Simulated Q range, 1/Å: the grid and what strain, scale and zero errors can pull into it."""

FINE_STEP = 0.0056
"""Spacing of the simulated range, 1/Å. Linear interpolation on it blurs by 0.002 1/Å, a tenth of
what pixels do."""

WAVELENGTHS = (
    0.16,
    0.1839,
    0.21,
    0.25,
    0.3,
    0.35,
    0.41,
    0.4955,
    0.5642,
    0.61,
    0.7093,
    0.74,
    1.0,
    1.2,
    1.3,
    1.5406,
)
"""Wavelengths in Å whose f', f'' are drawn; the L edges of Pb are at 0.782, 0.815 and 0.951 Å."""


@dataclass(frozen=True, slots=True)
class Priors:
    """Ranges that the simulations are drawn from."""

    diameter_nm: tuple[float, float] = (1.2, 11.0)
    dispersion: tuple[float, float] = (0.03, 0.30)
    usual_dispersion: tuple[float, float] = (0.05, 0.25)
    usual_share: float = 0.8
    lattice_scale: tuple[float, float] = (0.9975, 1.0051)
    surface_strain_nm: tuple[float, float] = (0.0, 0.005)
    """Lattice scale grows by this over the diameter: small dots are expanded."""
    b_lead: tuple[float, float] = (1.0, 2.0)
    b_sulfur: tuple[float, float] = (0.9, 2.8)
    b_sulfur_small: float = 1.5
    """Up to this much more B(S) at 2.5 nm, falling as 1/diameter."""
    min_fraction: float = 0.005
    counts: tuple[float, float] = (20.0, 1e5)
    """Mean counts per point of the published grid."""
    nothing: float = 0.08
    foreign: float = 0.08
    other_lattice: float = 0.4
    """Of the foreign patterns: rock-salt nanocrystals of a clearly different lattice parameter."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Simulated patterns and their truth; `kind` indexes `KINDS`; sizes hold where kind is 0."""

    intensity: Tensor
    coverage: Tensor
    diameter: Tensor
    volume: Tensor
    dispersion: Tensor
    fraction: Tensor
    kind: Tensor
    counts: Tensor


@dataclass
class PatternSource:
    """Draws batches from `priors`; two sources with one seed give the same patterns."""

    seed: int
    priors: Priors = field(default_factory=Priors)
    max_diameter_nm: float = 18.6
    foreign_patterns: int = 1500

    def __post_init__(self) -> None:
        """Tabulate every cluster, once."""
        count = round((MARGIN_MAX - MARGIN_MIN) / FINE_STEP)
        q = MARGIN_MIN + FINE_STEP * np.arange(count, dtype=np.float64)
        library = build_library(self.max_diameter_nm)
        self._diameters = library.diameters
        self._table = torch.from_numpy(_table(library, q, BIN * PUBLISHED_GRID.step))
        self._atoms = torch.from_numpy(np.stack([library.lead, library.sulfur])).float()
        self._fine = torch.from_numpy(q).float()
        grid = PUBLISHED_GRID.values().reshape(POINTS, BIN).mean(axis=1)
        self._q = torch.from_numpy(grid).float()
        self._f0 = torch.from_numpy(np.stack([f0("Pb", q), f0("S", q)])).float()
        terms = [(anomalous("Pb", w), anomalous("S", w)) for w in WAVELENGTHS]
        self._anomalous = torch.tensor([[p.real, p.imag, s.real, s.imag] for p, s in terms])
        self._foreign = torch.from_numpy(foreign_bank(grid, self.foreign_patterns, self.seed + 1))
        self._generator = torch.Generator().manual_seed(self.seed)

    @property
    def state(self) -> Tensor:
        """State of the random generator, to go on from."""
        return self._generator.get_state()

    def restore(self, state: Tensor) -> None:
        """Go on from a `state`."""
        self._generator.set_state(state)

    def batch(self, size: int) -> Batch:
        """Draw `size` patterns on the binned grid, mean 1 over what is covered."""
        d = Draw(self._generator, size)
        p, q = self.priors, self._q
        kind = self._kinds(d)
        rock_salt = (kind == 2) & (d.happens(p.other_lattice) > 0)
        coverage, instrument = augmentation.window(q, d)
        crystal, truth = self._nanocrystals(d, rock_salt, augmentation.broadening(d, instrument))
        stranger = self._foreign[
            torch.randint(len(self._foreign), (size,), generator=self._generator)
        ]
        signal = torch.where((kind == 2) & ~rock_salt, stranger, crystal)
        fraction = torch.where(kind == 1, torch.zeros(1), self._fraction(d, kind))
        liquid = _mean_one(augmentation.background(q, d) * torch.ones_like(signal), coverage)
        pattern = fraction * _mean_one(signal, coverage) + (1 - fraction) * liquid
        pattern = pattern * augmentation.smooth_error(q, d, 0.04) * augmentation.polarization(q, d)
        counts = d.log_uniform(*p.counts)
        pattern = _mean_one(pattern, coverage)
        noisy = augmentation.counting_noise(pattern, q, d, BIN * counts)
        return Batch(
            intensity=_mean_one(noisy, coverage) * coverage,
            coverage=coverage,
            diameter=truth[0],
            volume=truth[1],
            dispersion=truth[2],
            fraction=fraction[:, 0],
            kind=kind[:, 0],
            counts=counts[:, 0],
        )

    def _kinds(self, d: Draw) -> Tensor:
        u = d.uniform(0.0, 1.0)
        p = self.priors
        return (u < p.nothing).long() + 2 * ((u >= p.nothing) & (u < p.nothing + p.foreign)).long()

    def _fraction(self, d: Draw, kind: Tensor) -> Tensor:
        """Share of the covered area: half log-uniform, a third uniform, a sixth pure."""
        u = d.uniform(0.0, 1.0)
        low = torch.where(kind == 2, 0.1, self.priors.min_fraction)  # fainter strangers do no harm
        share = torch.exp(torch.log(low) * d.uniform(0.0, 1.0))
        share = torch.where(u < 0.33, d.uniform(0.1, 1.0), share)
        return torch.where(u > 0.84, torch.ones(1), share)

    def _ensembles(self, d: Draw) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Weights (n, clusters) and (number average, volume average, dispersion), each (n,)."""
        p = self.priors
        mean = d.uniform(*p.diameter_nm)
        usual = d.happens(p.usual_share)
        width = usual * d.uniform(*p.usual_dispersion) + (1 - usual) * d.uniform(*p.dispersion)
        weights = lognormal_weights(self._diameters, mean.double().numpy(), width.double().numpy())
        number, volume = averages(self._diameters, weights)
        truth = (number, volume, actual_dispersion(self._diameters, weights))
        first, second, third = (torch.from_numpy(t).float() for t in truth)
        return torch.from_numpy(weights).float(), (first, second, third)

    def _nanocrystals(
        self, d: Draw, foreign: Tensor, broadening: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Pure nanocrystal patterns (n, points) with strain, broadening and instrument errors."""
        p = self.priors
        weights, truth = self._ensembles(d)
        number = truth[0][:, None]
        sums = (weights @ self._table.reshape(len(weights[0]), -1)).reshape(d.size, 3, -1)
        atoms = weights @ self._atoms.T
        fine = self._fine
        b_sulfur = d.uniform(*p.b_sulfur) + d.uniform(0.0, p.b_sulfur_small) * 2.5 / number.clamp(
            min=2.0
        )
        s2 = (fine / (4 * math.pi)) ** 2
        damp_lead = torch.exp(-d.uniform(*p.b_lead) * s2)
        damp_sulfur = torch.exp(-b_sulfur * s2)
        lead2, cross, sulfur2 = self._form_products(d)
        pattern = (
            lead2 * (atoms[:, :1] + damp_lead**2 * sums[:, 0])
            + 2.0 * cross * damp_lead * damp_sulfur * sums[:, 1]
            + sulfur2 * (atoms[:, 1:] + damp_sulfur**2 * sums[:, 2])
        )
        pattern = pattern / pattern.mean(dim=1, keepdim=True)
        pattern = self._broaden(pattern, broadening)
        strain = d.uniform(*p.lattice_scale) + d.uniform(*p.surface_strain_nm) / number.clamp(
            min=1.0
        )
        other = torch.where(d.happens(0.7) > 0, d.uniform(0.55, 0.97), d.uniform(1.025, 1.12))
        return self._observe(pattern, torch.where(foreign, strain * other, strain), d), truth

    def _form_products(self, d: Draw) -> tuple[Tensor, Tensor, Tensor]:
        which = torch.randint(len(self._anomalous), (d.size,), generator=d.generator)
        lead_real, lead_imag, sulfur_real, sulfur_imag = self._anomalous[which].T[:, :, None]
        lead, sulfur = self._f0[0] + lead_real, self._f0[1] + sulfur_real
        return (
            lead**2 + lead_imag**2,
            lead * sulfur + lead_imag * sulfur_imag,
            sulfur**2 + sulfur_imag**2,
        )

    def _broaden(self, pattern: Tensor, sd: Tensor) -> Tensor:
        """Convolve with a Gaussian of `sd` (n, 1), 1/Å: pixels, beam, sample length."""
        wave = 2 * math.pi * torch.fft.rfftfreq(pattern.shape[1], d=FINE_STEP)
        transform = torch.fft.rfft(pattern, dim=1) * torch.exp(-0.5 * (sd * wave) ** 2)
        return torch.fft.irfft(transform, n=pattern.shape[1], dim=1)

    def _observe(self, pattern: Tensor, strain: Tensor, d: Draw) -> Tensor:
        """Read the pattern at the Q where it really is: strain, Q scale and zero errors.

        A third are a mixture of two lattice scales up to 0.7 % apart: uneven strain, rhombohedral
        elongation, or the Kα doublet. Low Q gets a random tilt, for the contrast of the shell; some
        have preferred orientation.
        """
        q = self._q
        scale = strain * (1.0 + d.uniform(-0.003, 0.003) * d.happens(0.6))
        zero = d.uniform(-0.006, 0.006) * d.happens(0.5)
        split = d.uniform(-0.007, 0.007) * d.uniform(0.0, 1.0) * d.happens(0.33)
        minor = d.uniform(0.1, 0.5)
        first = self._interpolate(pattern, q * scale + zero)
        second = self._interpolate(pattern, q * scale * (1.0 + split) + zero)
        tilt = 1.0 + d.uniform(-0.35, 0.25) * torch.exp(-(q - 0.99) / d.uniform(0.15, 0.5))
        mixed = (1 - minor) * first + minor * second
        return mixed * tilt * augmentation.texture(q, d)

    def _interpolate(self, pattern: Tensor, at: Tensor) -> Tensor:
        position = ((at - MARGIN_MIN) / FINE_STEP).clamp(0.0, pattern.shape[1] - 1.001)
        index = position.long()
        part = position - index
        low, high = torch.gather(pattern, 1, index), torch.gather(pattern, 1, index + 1)
        return low + part * (high - low)


def _mean_one(pattern: Tensor, coverage: Tensor) -> Tensor:
    covered = (pattern * coverage).sum(dim=1, keepdim=True)
    return pattern * coverage.sum(dim=1, keepdim=True) / covered.clamp_min(1e-9)


def _table(library: ClusterLibrary, q: npt.NDArray[np.float64], bin_width: float) -> Float32:
    """Partial sums averaged over a bin, shape (clusters, 3, nq), per 1000 atoms' worth of scale."""

    def rows(squared: npt.NDArray[np.float64], counts: npt.NDArray[np.float64]) -> Float32:
        r = distances(squared)
        half = 0.5 * bin_width * r
        damped = counts * (np.sin(half) / half)  # the mean of a sine over a bin of that width
        return (damped @ sinc_table(q, r)).astype(np.float32)

    return np.stack(
        [
            rows(library.even, library.lead_lead),
            rows(library.odd, library.lead_sulfur),
            rows(library.even, library.sulfur_sulfur),
        ],
        axis=1,
    )
