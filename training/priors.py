"""The ranges that simulations are drawn from: part of every answer that the network gives."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Priors:
    """Ranges that the simulations are drawn from; they travel in the model card."""

    diameter_nm: tuple[float, float] = (1.2, 11.5)
    dispersion: tuple[float, float] = (0.02, 0.30)
    usual_dispersion: tuple[float, float] = (0.12, 0.05)
    """Mean and standard deviation of a Gaussian, kept within `dispersion`."""
    usual_share: float = 0.8
    """So many have the usual dispersion, the others are flat over the whole range."""
    lattice_scale: tuple[float, float] = (0.9975, 1.0051)
    surface_strain_nm: tuple[float, float] = (0.0, 0.005)
    """Lattice scale grows by this over the diameter: small dots are expanded."""
    b_lead: tuple[float, float] = (0.8, 2.0)
    b_sulfur: tuple[float, float] = (0.6, 2.6)
    b_sulfur_small: float = 1.0
    """Up to this much more B(S) at 2.5 nm, falling as 1/diameter."""
    shaped: float = 0.08
    """Facets instead of a sphere: cube, octahedron, and these two truncated, one as often as the
    other."""
    elongated: float = 0.16
    """Some or all particles longer along a body diagonal by ELONGATION (`cluster_table`)."""
    disordered: float = 0.15
    """The outermost atoms of spheres move or sit off their sites; see `surface_b`."""
    surface_b: float = 2.0
    """Up to this much more B for them, Å²."""
    displaced: float = 0.3
    """Pb off its site by up to `lead_displacement`, alike in a whole particle or at random."""
    lead_displacement: float = 0.1
    """Å: Bertolotti et al., ACS Nano 2016, 10.1021/acsnano.5b04902."""
    min_fraction: float = 0.005
    counts: tuple[float, float] = (20.0, 1e5)
    """Mean counts per point of the published grid."""
    nothing: float = 0.08
    foreign: float = 0.1
    other_lattice: float = 0.35
    """Of the foreign patterns: rock-salt nanocrystals of a clearly different lattice parameter."""
    zinc_blende: float = 0.3
    """Of the foreign patterns: nanocrystals of zinc blende, as other quantum dots are."""
    zinc_blende_lattices: tuple[float, float] = (0.9, 1.12)
    """Their lattice parameter over that of PbS, for one half of them: from ZnS (5.41 Å) by CdS
    (5.83), InP (5.87), CdSe (6.05) and InAs (6.06) to CdTe (6.48) and beyond."""
    near_lattices: tuple[float, float] = (0.97, 1.03)
    """The same for the other half: there intensities alone tell them from PbS."""
    b_foreign: tuple[float, float] = (0.3, 1.8)
    """B of their atoms, Å²."""
    own_solvent: float = 0.5
    """How often the liquid is one of the user's measured ones, where there are any."""
