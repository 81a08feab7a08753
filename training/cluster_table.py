"""Partial sums of every simulated cluster, in torch: what batches are mixed from.

One family for each kind of cluster (spheres, elongated spheres, each faceted shape). Spheres up to
SURFACE_NM keep apart how many of a pair's two atoms lie at the surface, so that surface atoms can
be given more disorder than the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from qd_agent.scattering.ensemble import actual_dispersion, averages, lognormal_weights
from qd_agent.scattering.forward import ClusterLibrary, distances
from training.debye import build_library, cell_widths, pair_counts_between, sinc_sum
from training.nanocrystal import occupancies
from training.shapes import Shape

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]

ELONGATION = 0.007
"""Relative: the largest that measured PbS shows along a body diagonal."""

SURFACE_NM = 7.5
"""Up to here a surface is a share of the atoms that matters: 20 % at 7.5 nm."""


@dataclass(frozen=True, slots=True)
class Truth:
    """Exact averages over the clusters of each ensemble, shape (n,): nm, nm, relative."""

    number: Tensor
    volume: Tensor
    dispersion: Tensor


@dataclass(frozen=True, slots=True)
class Family:
    """Clusters of one kind, by size.

    Attributes:
        diameters: shape (k,), nm; those of the sphere of equal volume.
        widths: shape (k,), spacing of the diameters, mean 1.
        sums: shape (k, layers, 3, nq): pairs with no, one, two atoms at the surface (one layer
            where that is not told apart); Pb-Pb, Pb-S counted once, S-S.
        atoms: shape (k, 2), number of Pb and S.
    """

    diameters: Float
    widths: Float
    sums: Tensor
    atoms: Tensor

    def weights(self, mean_nm: Tensor, dispersion: Tensor) -> tuple[Tensor, Truth]:
        """Shares of particles (n, k) of lognormals; `mean_nm`, `dispersion` of shape (n, 1)."""
        shares = self.widths * lognormal_weights(
            self.diameters, mean_nm.double().cpu().numpy(), dispersion.double().cpu().numpy()
        )
        shares = shares / shares.sum(axis=1, keepdims=True)
        number, volume = averages(self.diameters, shares)
        spread = actual_dispersion(self.diameters, shares)
        device = mean_nm.device
        numbers = (torch.from_numpy(v).float().to(device) for v in (number, volume, spread))
        return torch.from_numpy(shares).float().to(device), Truth(*numbers)

    def to(self, device: str) -> Family:
        """Give the same family on a device."""
        return replace(self, sums=self.sums.to(device), atoms=self.atoms.to(device))

    def without_layers(self) -> Family:
        """Give the same family with the pairs of all layers in one."""
        return replace(self, sums=self.sums.sum(dim=1, keepdim=True))

    def mixed(self, weights: Tensor) -> Tensor:
        """Sums of the average particle, shape (n, layers, 3, nq)."""
        flat = weights @ self.sums.reshape(len(self.sums), -1)
        return flat.reshape(len(weights), *self.sums.shape[1:])


def families(max_diameter_nm: float, q: Float, bin_width: float) -> tuple[Family, ...]:
    """Spheres, elongated spheres, then the other shapes; averaged over bins of `bin_width` 1/Å."""
    shapes = [shape for shape in Shape if shape is not Shape.SPHERE]
    return (
        spheres(max_diameter_nm, q, bin_width),
        _family(build_library(max_diameter_nm, elongation=ELONGATION), q, bin_width),
        *(_family(build_library(max_diameter_nm, shape), q, bin_width) for shape in shapes),
    )


def spheres(max_diameter_nm: float, q: Float, bin_width: float) -> Family:
    """Spheres, pairs told apart by how many of their atoms lie at the surface."""
    whole = _family(build_library(max_diameter_nm), q, bin_width)
    sums = torch.zeros(len(whole.diameters), 3, *whole.sums.shape[2:])
    sums[:, :1] = whole.sums
    small = [n for n in range(1, len(whole.diameters) + 1) if whole.diameters[n - 1] <= SURFACE_NM]
    for layer, kind, counts in surface_pairs(len(small)):
        squared = np.flatnonzero(counts.any(axis=0))
        squared = squared[squared > 0]
        rows = _rows(counts[:, squared], squared.astype(np.float64), q, bin_width)
        sums[: len(small), layer, kind] = torch.from_numpy(rows)
    return Family(whole.diameters, whole.widths, sums, whole.atoms)


def surface_pairs(shells: int) -> Iterator[tuple[int, int, Float]]:
    """Multiplicities of spheres 1 … `shells` by squared distance m: (layer, kind, (shells, m)).

    Surface atoms are Pb without all of its twelve Pb neighbours, and fractional S.
    """
    length = 1 + 3 * (2 * occupancies(shells)[0].shape[0]) ** 2
    for layer in range(3):
        for kind in range(3):
            table = np.zeros((shells, length))
            for shell in range(1, shells + 1):
                for a, b, unit in _sorted_pairs(shell, layer, kind):
                    found = pair_counts_between(a, b)
                    table[shell - 1, found.m] += found.count / unit
            yield layer, kind, table[:, : 1 + int(np.flatnonzero(table.any(axis=0)).max(initial=1))]


def _sorted_pairs(shell: int, layer: int, kind: int) -> list[tuple[Int, Int, float]]:
    """Grids to correlate for pairs with `layer` atoms at the surface, and their unit."""
    lead, sulfur = occupancies(shell)
    outer_lead, outer_sulfur = lead * (_neighbours(lead) < 12), sulfur * (sulfur < 8)
    parts = {"Pb": (lead - outer_lead, outer_lead), "S": (sulfur - outer_sulfur, outer_sulfur)}
    first, second, unit = (("Pb", "Pb", 1.0), ("Pb", "S", 8.0), ("S", "S", 64.0))[kind]
    which = {0: ((0, 0),), 1: ((0, 1), (1, 0)), 2: ((1, 1),)}[layer]
    return [(parts[first][i], parts[second][j], unit) for i, j in which]


def _neighbours(lead: Int) -> Int:
    """Number of Pb at the twelve nearest Pb sites; nothing wraps: the margin is empty."""
    total = np.zeros_like(lead)
    for axis, other in ((0, 1), (0, 2), (1, 2)):
        for i in (-1, 1):
            for j in (-1, 1):
                total += np.roll(lead, (i, j), axis=(axis, other))
    return total


def _family(library: ClusterLibrary, q: Float, bin_width: float) -> Family:
    kinds = (
        (library.even, library.lead_lead),
        (library.odd, library.lead_sulfur),
        (library.even, library.sulfur_sulfur),
    )
    sums = np.stack([_rows(counts, squared, q, bin_width) for squared, counts in kinds], axis=1)
    atoms = np.stack([library.lead, library.sulfur], axis=1)
    return Family(
        library.diameters,
        cell_widths(library.diameters),
        torch.from_numpy(sums[:, None]),
        torch.from_numpy(atoms).float(),
    )


def _rows(counts: Float, squared: Float, q: Float, bin_width: float) -> npt.NDArray[np.float32]:
    r = distances(squared)
    half = 0.5 * bin_width * r
    damped = counts * (np.sin(half) / half)  # the mean of a sine over a bin of that width
    return sinc_sum(damped, r, q).astype(np.float32)
