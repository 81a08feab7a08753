"""Nanocrystals that are no perfect lattice: relaxed surfaces, shells, displaced lead.

Each takes atoms and gives atoms, for the pair-histogram engine (`training.histogram`). Depth below
the surface is measured by the gauge of the shape: the outermost cations have depth 0, the centre
lies as deep as the radius of the sphere of equal volume.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from qd_agent.scattering.ensemble import LATTICE_PARAMETER
from training.atoms import Atoms, Species
from training.shapes import Shape, gauge

Float = npt.NDArray[np.float64]

BODY_DIAGONAL = np.ones(3) / np.sqrt(3.0)


def depth(atoms: Atoms, shape: Shape = Shape.SPHERE) -> Float:
    """How far each atom lies below the outermost cation, shape (n,), Å; 0 for what lies outside."""
    return np.maximum(_surface(atoms, shape) - gauge(shape, *atoms.positions.T), 0.0)


def _surface(atoms: Atoms, shape: Shape) -> float:
    """Gauge of the outermost cation; shared sulfur may stick out far from the faces of a body."""
    cation = np.array([s.element != "S" for s in atoms.species])[atoms.kind]
    among = atoms.positions[cation] if cation.any() else atoms.positions
    return float(gauge(shape, *among.T).max())


def relaxed_surface(
    atoms: Atoms, expansion: float, thickness: float, shape: Shape = Shape.SPHERE
) -> Atoms:
    """Expand (or, below 0, contract) the surface along the radius.

    An atom at x moves to x·(1 + expansion·exp(-depth/thickness)): the usual model of surface
    strain that decays into the particle (Masadeh et al., Phys. Rev. B 76 (2007) 115413 find such
    gradients in CdSe nanocrystals).

    Args:
        atoms: the nanocrystal.
        expansion: relative displacement at the surface, ±0.01 is strong.
        thickness: decay length, Å.
        shape: outer shape, which the layers follow.

    Raises:
        ValueError: the thickness is not positive.
    """
    if not thickness > 0.0:
        raise ValueError(f"the relaxed layer needs a positive thickness, not {thickness:g} Å")
    factor = 1.0 + expansion * np.exp(-depth(atoms, shape) / thickness)
    return atoms.moved(atoms.positions * factor[:, None])


def disordered(
    atoms: Atoms,
    sd: float,
    rng: np.random.Generator,
    thickness: float = np.inf,
    shape: Shape = Shape.SPHERE,
) -> Atoms:
    """Displace every atom at random; Gaussian, `sd` Å along each axis at the surface.

    The standard deviation decays as exp(-depth/thickness); with an infinite thickness (Å) all
    atoms are alike, and the mean effect is that of B = 8π² sd² more.
    """
    local = sd * np.exp(-depth(atoms, shape) / thickness)
    return atoms.moved(atoms.positions + local[:, None] * rng.normal(size=atoms.positions.shape))


def lead_off_centre(atoms: Atoms, length: float, rng: np.random.Generator | None = None) -> Atoms:
    """Move every Pb by `length` Å along a body diagonal, S staying where it is.

    Without `rng` all along the common [111] (a polar distortion), with it each along one of the
    eight <111> at random (local dipoles). PbS nanocrystals show up to 0.1 Å.
    """
    lead = np.array([s.element == "Pb" for s in atoms.species])[atoms.kind]
    signs = np.ones((lead.size, 3)) if rng is None else rng.choice([-1.0, 1.0], (lead.size, 3))
    shift = np.where(lead[:, None], length * signs * BODY_DIAGONAL, 0.0)
    return atoms.moved(atoms.positions + shift)


@dataclass(frozen=True, slots=True)
class Coating:
    """A shell of another compound of sulfur on the same sulfur lattice, as cation exchange leaves.

    Attributes:
        thickness: of the layer whose cations are replaced, Å.
        cation: what replaces Pb.
        lattice_parameter: cubic, Å; CdS of the zinc-blende kind has 5.818 (hawleyite, PDF 10-454).
        tetrahedral: cations sit between four S (zinc blende), else between six (rock salt).
    """

    thickness: float
    cation: Species = Species("Cd", 1.0)  # noqa: RUF009 - a frozen record
    lattice_parameter: float = 5.818
    tetrahedral: bool = True


def core_shell(atoms: Atoms, coating: Coating, shape: Shape = Shape.SPHERE) -> Atoms:
    """Turn the outer layer of a PbS nanocrystal into a shell of another sulfide.

    The sulfur lattice goes on through the interface. In the shell, distances from the core along
    the radius scale with the ratio of the lattice parameters (coherent sideways at the interface);
    tetrahedral cations move from the Pb site by a quarter of the body diagonal of their octant,
    outwards, so that they never meet the Pb of the core.

    Raises:
        ValueError: the thickness is not positive.
    """
    if not coating.thickness > 0.0:
        raise ValueError(f"a shell needs a positive thickness, not {coating.thickness:g} Å")
    below = depth(atoms, shape)
    lead = np.array([s.element == "Pb" for s in atoms.species])[atoms.kind]
    replaced = lead & (below < coating.thickness)
    positions = atoms.positions.copy()
    if coating.tetrahedral:
        outwards = np.where(positions[replaced] >= 0.0, 1.0, -1.0)
        positions[replaced] += 0.25 * LATTICE_PARAMETER * outwards
    radius = gauge(shape, *positions.T)
    core = max(_surface(atoms, shape) - coating.thickness, 0.0)
    ratio = coating.lattice_parameter / LATTICE_PARAMETER
    outside = np.maximum(radius - core, 0.0)
    factor = 1.0 + (ratio - 1.0) * outside / np.maximum(radius, 1e-9)
    return replace(
        atoms.moved(positions * factor[:, None]),
        kind=np.where(replaced, len(atoms.species), atoms.kind),
        species=(*atoms.species, coating.cation),
    )
