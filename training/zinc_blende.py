"""Nanocrystals of zinc blende: what other quantum dots are made of, and what PbS is not.

Spheres cut out of the lattice at a random place: the mean number of pairs at a distance r is the
lattice's times the common volume 1 - 3r/2D + r³/2D³ of the sphere and itself shifted by r (Guinier,
X-ray Diffraction, 1963), and the Debye equation is summed over those. They are tabulated for the
lattice parameter of PbS, so that scaling Q makes every other one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from qd_agent.scattering.ensemble import LATTICE_PARAMETER
from qd_agent.scattering.form_factors import f0
from training.augmentation import Draw
from training.debye import sinc_sum
from training.priors import Priors

Float = npt.NDArray[np.float64]

CATIONS, ANIONS = ("Zn", "Cd", "Hg", "Ga", "In"), ("P", "As", "Sb", "S", "Se", "Te")
"""Any of the first with any of the second."""


@dataclass(frozen=True, slots=True)
class ZincBlende:
    """Partial sums of spheres by size, and the form factors of what they may be made of.

    Attributes:
        atoms: shape (k,), number of cations, which is that of anions.
        sums: shape (k, 2, nq): pairs of like atoms of one kind, and of cation with anion.
        s2: shape (nq,), (Q/4π)², 1/Å².
        cations, anions: shape (n, nq), f0.
    """

    atoms: Tensor
    sums: Tensor
    s2: Tensor
    cations: Tensor
    anions: Tensor

    def to(self, device: str) -> ZincBlende:
        """Give the same on a device."""
        return ZincBlende(*(getattr(self, name).to(device) for name in self.__slots__))

    def patterns(self, weights: Tensor, priors: Priors, d: Draw) -> Tensor:
        """Patterns of mean 1 (n, nq) of ensembles `weights` (n, k); elements and B are drawn."""
        one, other = (kind[d.below(len(kind))] for kind in (self.cations, self.anions))
        alone = (weights @ self.atoms)[:, None]
        like, unlike = (weights @ self.sums[:, kind] for kind in (0, 1))
        thermal = [torch.exp(-d.uniform(*priors.b_foreign) * self.s2) for _ in range(2)]
        pattern = (one**2 + other**2) * alone
        one, other = one * thermal[0], other * thermal[1]
        pattern = pattern + (one**2 + other**2) * like + 2.0 * one * other * unlike
        return pattern / pattern.mean(dim=1, keepdim=True)


def lattice_scale(priors: Priors, d: Draw) -> Tensor:
    """Lattice parameter over that of PbS, (n, 1): one in two close to it, the rest anything."""
    near = d.uniform(*priors.near_lattices)
    return torch.where(d.happens(0.5) > 0, near, d.uniform(*priors.zinc_blende_lattices))


def zinc_blende(diameters: Float, q: Float, bin_width: float) -> ZincBlende:
    """Tables of spheres of `diameters`, nm, averaged over bins of `bin_width`, 1/Å."""
    sizes = 10.0 * diameters
    atoms = 4.0 * np.pi / 6.0 * sizes**3 / LATTICE_PARAMETER**3
    rows: list[Float] = []
    for shift in (0, 1):
        r, neighbours = _distances(float(sizes.max()), shift)
        part = np.minimum(r / sizes[:, None], 1.0)
        pairs = atoms[:, None] * neighbours * (1.0 - 1.5 * part + 0.5 * part**3)
        half = 0.5 * bin_width * r
        rows.append(sinc_sum(pairs * np.sin(half) / half, r, q))  # the mean of a sine over a bin
    sums = np.stack(rows, axis=1)
    return ZincBlende(
        *(torch.from_numpy(values).float() for values in (atoms, sums, (q / (4.0 * np.pi)) ** 2)),
        *(
            torch.from_numpy(np.stack([f0(element, q) for element in kind])).float()
            for kind in (CATIONS, ANIONS)
        ),
    )


def _distances(reach: float, shift: int) -> tuple[Float, Float]:
    """Neighbours of an atom up to `reach` Å: distances and how many, ascending.

    Of its own kind where `shift` is 0; where it is 1 of the other, a quarter of the body diagonal
    beside. In quarters of the lattice parameter like sites are even and their half sum is even.
    """
    quarter = 0.25 * LATTICE_PARAMETER
    top = int(reach / quarter / 2) + 1
    axis = np.arange(-top, top + 1)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij", sparse=True)
    squared = (2 * x + shift) ** 2 + (2 * y + shift) ** 2 + (2 * z + shift) ** 2
    m, count = np.unique(squared[(x + y + z) % 2 == 0], return_counts=True)
    inside = (m > 0) & (m < (reach / quarter) ** 2)
    return quarter * np.sqrt(m[inside]), count[inside].astype(np.float64)
