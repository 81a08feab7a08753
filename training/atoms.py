"""Atoms of any arrangement: what the pair-histogram engine takes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from qd_agent.scattering.ensemble import LATTICE_PARAMETER
from training import nanocrystal
from training.rhombohedral import check_elongation, stretched
from training.shapes import Shape

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Species:
    """Atoms that scatter alike; one element may be several species, as in core and surface.

    Attributes:
        element: symbol of a neutral atom, 'Pb'.
        b: isotropic displacement parameter B = 8π²⟨u²⟩ along one direction, Å².
    """

    element: str
    b: float


LEAD, SULFUR = Species("Pb", 1.32), Species("S", 1.49)
"""As in the published clusters."""


@dataclass(frozen=True, slots=True)
class Atoms:
    """A nanocrystal, atom by atom.

    Attributes:
        positions: shape (n, 3), Å, origin at the centre of the nanocrystal.
        kind: shape (n,), index into `species`.
        occupancy: shape (n,), 0…1.
        species: what the kinds are.
    """

    positions: Float
    kind: Int
    occupancy: Float
    species: tuple[Species, ...]

    def __post_init__(self) -> None:
        """Raise ValueError unless the arrays fit together and are finite."""
        count = len(self.positions)
        if self.positions.shape != (count, 3) or count == 0:
            raise ValueError(f"positions must be (n, 3), not {self.positions.shape}")
        if self.kind.shape != (count,) or self.occupancy.shape != (count,):
            raise ValueError(f"{count} atoms need as many kinds and occupancies")
        if not np.isfinite(self.positions).all() or not np.isfinite(self.occupancy).all():
            raise ValueError("positions and occupancies must be finite")
        if self.kind.min() < 0 or self.kind.max() >= len(self.species):
            raise ValueError(f"kinds must be 0 to {len(self.species) - 1}")

    def moved(self, positions: Float) -> Atoms:
        """Give the same atoms elsewhere; shape (n, 3), Å."""
        return replace(self, positions=positions)


def cluster_atoms(
    shell: int,
    shape: Shape = Shape.SPHERE,
    elongation: float = 0.0,
    lattice_scale: float = 1.0,
) -> Atoms:
    """Atoms of a cluster of the lattice engine: kind 0 is Pb, kind 1 is S.

    Args:
        shell: cluster number, diameter shell × 0.4638 nm.
        shape: outer shape.
        elongation: relative lengthening of a body diagonal, volume kept.
        lattice_scale: of all distances, 1 is bulk (5.934 Å).

    Raises:
        ValueError: no such cluster, or an elongation beyond ±0.1.
    """
    check_elongation(elongation)
    sites, lead, eighths = nanocrystal.atoms(shell, shape)
    positions = 0.5 * LATTICE_PARAMETER * lattice_scale * stretched(sites, elongation)
    kind = np.where(lead > 0, 0, 1)
    occupancy = np.where(lead > 0, 1.0, eighths / 8.0)
    weights = occupancy * (kind == 0)
    centre = weights @ positions / weights.sum()
    return Atoms(positions - centre, kind, occupancy, (LEAD, SULFUR))
