"""Endless, seeded batches of simulated patterns; no two are the same.

Physics comes from `cluster_table`, what an experiment adds from `augmentation` and `observation`,
the ranges from `priors`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from qd_agent.core.pattern import PUBLISHED_GRID
from qd_agent.inference.network import BIN, POINTS
from qd_agent.scattering.form_factors import anomalous, f0
from training import augmentation, observation
from training.augmentation import Draw, rows_where
from training.cluster_table import Family, Truth, families
from training.materials import foreign_bank
from training.priors import Priors
from training.zinc_blende import ZincBlende, lattice_scale, zinc_blende

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
    resolution: Tensor
    """Standard deviation of the instrument's Gaussian, 1/Å, as a beamline knows it: to 10 %."""

    def to(self, device: str) -> Batch:
        """Give the same batch on a device."""
        return Batch(*(getattr(self, name).to(device) for name in self.__slots__))

    def parts(self, size: int) -> list[Batch]:
        """Give the same patterns in batches of `size`, in order."""
        columns = (getattr(self, name).split(size) for name in self.__slots__)
        return [Batch(*some) for some in zip(*columns, strict=True)]


@lru_cache(maxsize=1)
def _tables(max_diameter_nm: float) -> tuple[tuple[Family, ...], ZincBlende]:
    """Every cluster, tabulated once for all sources of a process (half a minute)."""
    q, width = observation.fine_grid(), BIN * PUBLISHED_GRID.step
    lead_sulfide = families(max_diameter_nm, q, width)
    return lead_sulfide, zinc_blende(lead_sulfide[0].diameters, q, width)


@dataclass
class PatternSource:
    """Draws batches from `priors`; two sources with one seed give the same patterns.

    `solvents` are measured liquids of the user's own, each of shape (1251,) on the binned grid,
    positive; synthetic ones are always drawn as well.
    """

    seed: int
    priors: Priors = field(default_factory=Priors)
    max_diameter_nm: float = 18.6
    foreign_patterns: int = 3000
    solvents: Sequence[npt.NDArray[np.float32]] = ()
    device: str = "cpu"
    """Where patterns are made; on each kind of device a seed gives other patterns."""

    def __post_init__(self) -> None:
        """Put the tables of every cluster on the device."""
        q = observation.fine_grid()
        lead_sulfide, other = _tables(self.max_diameter_nm)
        self._families = tuple(family.to(self.device) for family in lead_sulfide)
        self._zinc_blende = other.to(self.device)
        self._tight = self._families[0].without_layers()
        self._s2 = self._tensor((q / (4 * math.pi)) ** 2)
        self._fine = self._tensor(q)
        grid = PUBLISHED_GRID.values().reshape(POINTS, BIN).mean(axis=1)
        self._q = self._tensor(grid)
        self._f0 = self._tensor(np.stack([f0("Pb", q), f0("S", q)]))
        terms = [(anomalous("Pb", w), anomalous("S", w)) for w in WAVELENGTHS]
        self._anomalous = self._tensor([[p.real, p.imag, s.real, s.imag] for p, s in terms])
        self._foreign = self._tensor(foreign_bank(grid, self.foreign_patterns, self.seed + 1))
        self._solvents = self._tensor(self.solvents)
        self._generator = torch.Generator(self.device).manual_seed(self.seed)

    def _tensor(self, values: npt.ArrayLike) -> Tensor:
        return torch.from_numpy(np.asarray(values, dtype=np.float32)).to(self.device)

    @property
    def state(self) -> Tensor:
        """State of the random generator, to go on from."""
        return self._generator.get_state()

    def restore(self, state: Tensor) -> None:
        """Go on from a `state`."""
        self._generator.set_state(state.clone())  # torch crashes on a row of a table of states

    def with_seed(self, seed: int) -> PatternSource:
        """Give another sequence of patterns over the same tables and strangers."""
        other = copy.copy(self)
        other.seed, other._generator = seed, torch.Generator(self.device).manual_seed(seed)
        return other

    def batch(self, size: int) -> Batch:
        """Draw `size` patterns on the binned grid, mean 1 over what is covered."""
        d = Draw(self._generator, size)
        p, q = self.priors, self._q
        kind = self._kinds(d)
        u = d.uniform(0.0, 1.0)
        rock_salt = (kind == 2) & (u < p.other_lattice)
        blende = (kind == 2) & ~rock_salt & (u < p.other_lattice + p.zinc_blende)
        coverage, instrument = augmentation.window(q, d)
        crystal, truth = self._nanocrystals(d)
        crystal = self._with_zinc_blende(crystal, rows_where(blende))
        resolution = augmentation.broadening(d, instrument)
        crystal = observation.broadened(crystal, resolution)
        strain = torch.where(blende, lattice_scale(p, d), self._strain(d, truth, rock_salt))
        crystal = observation.observe(crystal, q, strain, d)
        signal = torch.where((kind == 2) & ~rock_salt & ~blende, self._strangers(d), crystal)
        fraction = self._fraction(d, kind) * (kind != 1)
        liquid = _mean_one(self._background(d), coverage)
        pattern = fraction * _mean_one(signal, coverage) + (1 - fraction) * liquid
        pattern = pattern * augmentation.smooth_error(q, d, 0.04) * augmentation.polarization(q, d)
        pattern = pattern * augmentation.ripple(q, d, 0.0002, 0.003)
        counts = d.log_uniform(*p.counts)
        pattern = _mean_one(pattern, coverage)
        noisy = augmentation.counting_noise(pattern, q, d, BIN * counts)
        return Batch(
            intensity=_mean_one(noisy, coverage) * coverage,
            coverage=coverage,
            diameter=truth.number,
            volume=truth.volume,
            dispersion=truth.dispersion,
            fraction=fraction[:, 0],
            kind=kind[:, 0],
            counts=counts[:, 0],
            resolution=(resolution * (1.0 + d.normal(0.1))).clamp_min(0.0)[:, 0],
        )

    def backgrounds(self, size: int) -> npt.NDArray[np.float64]:
        """Draw `size` backgrounds on the binned grid, shape (size, 1251), mean 1."""
        rows = self._background(Draw(self._generator, size))
        return np.asarray(rows.cpu().numpy(), dtype=np.float64)

    def _kinds(self, d: Draw) -> Tensor:
        u = d.uniform(0.0, 1.0)
        p = self.priors
        return (u < p.nothing).long() + 2 * ((u >= p.nothing) & (u < p.nothing + p.foreign)).long()

    def _strangers(self, d: Draw) -> Tensor:
        return self._foreign[d.below(len(self._foreign))]

    def _background(self, d: Draw) -> Tensor:
        """Synthetic, or with a liquid of the user's own in place of the synthetic one."""
        drawn = augmentation.background(self._q, d)
        if not len(self._solvents):
            return drawn
        which = d.below(len(self._solvents))
        own = self._solvents[which]
        part = d.happens(self.priors.own_solvent) * d.uniform(0.5, 1.0)
        return part * own / own.mean(dim=1, keepdim=True) + (1 - part) * drawn

    def _fraction(self, d: Draw, kind: Tensor) -> Tensor:
        """Share of the covered area: half log-uniform, a third uniform, a sixth pure."""
        u = d.uniform(0.0, 1.0)
        low = torch.where(kind == 2, 0.1, self.priors.min_fraction)  # fainter strangers: no harm
        share = torch.exp(torch.log(low) * d.uniform(0.0, 1.0))
        share = torch.where(u < 0.33, d.uniform(0.1, 1.0), share)
        return torch.where(u > 0.84, torch.ones_like(share), share)

    def _nanocrystals(self, d: Draw) -> tuple[Tensor, Truth]:
        """Debye patterns (n, fine points) of mean 1 on the fine grid, and their averages."""
        p = self.priors
        interference, atoms, truth = self._ensembles(d)
        small = 2.5 / truth.number[:, None].clamp(min=2.0)
        b_sulfur = d.uniform(*p.b_sulfur) + d.uniform(0.0, p.b_sulfur_small) * small
        lead = torch.exp(-d.uniform(*p.b_lead) * self._s2)
        sulfur = torch.exp(-b_sulfur * self._s2)
        common, own = self._displacement(d)
        lead2, cross, sulfur2 = self._form_products(d)
        pattern = (
            lead2 * (atoms[:, :1] + (lead * own) ** 2 * interference[:, 0])
            + 2.0 * cross * lead * sulfur * common * own * interference[:, 1]
            + sulfur2 * (atoms[:, 1:] + sulfur**2 * interference[:, 2])
        )
        return pattern / pattern.mean(dim=1, keepdim=True), truth

    def _with_zinc_blende(self, patterns: Tensor, chosen: Tensor) -> Tensor:
        """Put ensembles of zinc blende in the place of the rows `chosen`."""
        d, p = Draw(self._generator, len(chosen)), self.priors
        weights, _ = self._families[0].weights(d.uniform(*p.diameter_nm), d.uniform(*p.dispersion))
        return patterns.index_copy(0, chosen, self._zinc_blende.patterns(weights, p, d))

    def _ensembles(self, d: Draw) -> tuple[Tensor, Tensor, Truth]:
        """Sums of the average particles (n, 3, nq), their atoms (n, 2), their averages."""
        p = self.priors
        mean = d.uniform(*p.diameter_nm)
        usual = d.happens(p.usual_share)
        middle, spread = p.usual_dispersion
        width = (middle + d.normal(spread)).clamp(*p.dispersion)
        width = usual * width + (1 - usual) * d.uniform(*p.dispersion)
        surface = d.happens(p.disordered) * d.uniform(0.0, p.surface_b)
        u = d.uniform(0.0, 1.0)[:, 0]
        round_share = d.uniform(0.0, 1.0)[:, 0]
        sphere, elongated, *shapes = self._families
        weights, truth = sphere.weights(mean, width)
        sums = self._tight.mixed(weights)[:, 0]
        chosen = rows_where(surface > 0)  # the others need no layers, which are most of the work
        damp = torch.exp(-surface[chosen] * self._s2)[:, None]
        layers = sphere.mixed(weights[chosen])
        sums[chosen] = layers[:, 0] + damp * (layers[:, 1] + damp * layers[:, 2])
        atoms = weights @ sphere.atoms
        # The elongated are the same particles, so that a part of them may be so.
        chosen = rows_where(u < p.elongated)
        part = round_share[chosen, None, None]
        sums[chosen] = (1 - part) * elongated.mixed(weights[chosen])[:, 0] + part * sums[chosen]
        for index, shape in enumerate(shapes):
            low = p.elongated + p.shaped * index / len(shapes)
            chosen = rows_where((u >= low) & (u < low + p.shaped / len(shapes)))
            shares, averages = shape.weights(mean[chosen], width[chosen])
            sums[chosen] = shape.mixed(shares)[:, 0]
            atoms[chosen] = shares @ shape.atoms
            for name in ("number", "volume", "dispersion"):
                getattr(truth, name)[chosen] = getattr(averages, name)
        return sums, atoms, truth

    def _displacement(self, d: Draw) -> tuple[Tensor, Tensor]:
        """Damping by Pb off their sites: of Pb-S where all go one way, of each Pb where not.

        Averaged over directions, a displacement u multiplies the interference of a moved with an
        unmoved atom by sin(Qu)/(Qu). Pb that move together keep their mutual distances.
        """
        off = d.happens(self.priors.displaced) * d.uniform(0.0, self.priors.lead_displacement)
        damping = torch.sinc(self._fine * off / math.pi)
        together = d.happens(0.5)
        one = torch.ones_like(damping)
        return torch.where(together > 0, damping, one), torch.where(together > 0, one, damping)

    def _form_products(self, d: Draw) -> tuple[Tensor, Tensor, Tensor]:
        which = d.below(len(self._anomalous))
        lead_real, lead_imag, sulfur_real, sulfur_imag = self._anomalous[which].T[:, :, None]
        lead, sulfur = self._f0[0] + lead_real, self._f0[1] + sulfur_real
        return (
            lead**2 + lead_imag**2,
            lead * sulfur + lead_imag * sulfur_imag,
            sulfur**2 + sulfur_imag**2,
        )

    def _strain(self, d: Draw, truth: Truth, foreign: Tensor) -> Tensor:
        """Lattice scale (n, 1); clearly another one where `foreign`."""
        p = self.priors
        strain = d.uniform(*p.lattice_scale)
        strain = strain + d.uniform(*p.surface_strain_nm) / truth.number[:, None].clamp(min=1.0)
        other = torch.where(d.happens(0.7) > 0, d.uniform(0.55, 0.97), d.uniform(1.025, 1.12))
        return torch.where(foreign, strain * other, strain)


def _mean_one(pattern: Tensor, coverage: Tensor) -> Tensor:
    covered = (pattern * coverage).sum(dim=1, keepdim=True)
    return pattern * coverage.sum(dim=1, keepdim=True) / covered.clamp_min(1e-9)
