"""The Debye equation for any arrangement of atoms, through histograms of their distances.

Wanted is S(Q) = Σ_p w_p sin(Q r_p)/(Q r_p) over pairs p, w = o_i o_j. The amplitudes w_p/r_p are
spread onto a grid of spacing h with the cubic B-spline M (four points a pair); a sine sum over the
grid then gives the same S(Q) times the transform of the spline, which is divided out:

    Q S(Q) = Σ_k G_k sin(Q k h) / (sinc(Qh/2))⁴,   G_k = Σ_p (w_p/r_p) M(r_p/h - k).

What remains is aliasing, relative to each pair 2 (Qh/2π)⁴ and less, as in particle-mesh sums
(Hockney & Eastwood, Computer Simulation Using Particles, 1988, ch. 5). The spacing is chosen so
that it stays below 10⁻⁷ at the largest Q; a 10 nm cluster needs some 20,000 grid points.
The spline is a cubic in the fraction f of the distance between two grid points, so pairs are
first summed as w/r·fⁿ, n = 0…3, and the four points are filled from those sums afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qd_agent.scattering.form_factors import anomalous, f0
from qd_agent.scattering.forward import PartialSums, debye_waller
from training.atoms import Atoms
from training.debye import sinc_sum

Float = npt.NDArray[np.float64]

ALIASING = 1e-7
"""Relative error of the amplitude of any one pair at the largest Q."""

CLOSEST = 0.1
"""Å; atoms closer than that are a mistake."""

PAIRS_AT_ONCE = 1 << 16
"""Pairs held at a time: half a megabyte an array, so that all of them stay in the cache."""

SPLINE = np.array([[1, -3, 3, -1], [4, 0, -6, 3], [1, 3, 3, -3], [0, 0, 0, 1]]) / 6.0
"""Cubic B-spline: row s, column n is the factor of fⁿ at the grid point s - 1 after the pair."""


@dataclass(frozen=True, slots=True)
class Interference:
    """Sums over the pairs of every two species.

    Attributes:
        q: shape (nq,), 1/Å.
        atoms: the arrangement.
        counts: shape (k,), Σ o of each species: the self terms.
        pairs: shape (k, k, nq), Σ o_i o_j sin(Qr)/(Qr) over ordered pairs i ≠ j, i of the first
            and j of the second species; symmetric.
    """

    q: Float
    atoms: Atoms
    counts: Float
    pairs: Float

    def lead_sulfide(self) -> PartialSums:
        """The same for Pb (kind 0) and S (kind 1) alone, as the lattice engine gives it.

        Raises:
            ValueError: there are other species.
        """
        if [s.element for s in self.atoms.species] != ["Pb", "S"]:
            raise ValueError("only atoms of the two species Pb and S have these three sums")
        return PartialSums(
            self.pairs[0, 0], self.pairs[0, 1], self.pairs[1, 1], self.counts[:1], self.counts[1:]
        )

    def intensity(self, wavelength: float) -> Float:
        """I(Q) in electrons², shape (nq,), each species with its own B; `wavelength` in Å.

        Σ_a n_a |f_a|² + Σ_ab Re(f_a f_b*) T_a T_b S_ab, T = exp(-B Q²/16π²). Thermal motion
        damps the interference only, as in `qd_agent.scattering.forward.intensity`.
        """
        species = self.atoms.species
        form = np.array([f0(s.element, self.q) + anomalous(s.element, wavelength) for s in species])
        damped = form * np.array([debye_waller(self.q, s.b) for s in species])
        self_terms = self.counts @ np.abs(form) ** 2
        return self_terms + np.einsum("aq,bq,abq->q", damped, np.conj(damped), self.pairs).real


def interference(atoms: Atoms, q: Float, aliasing: float = ALIASING) -> Interference:
    """Sum over all pairs of atoms.

    Args:
        atoms: the arrangement; time grows with the square of their number (20,000: seconds).
        q: shape (nq,), 1/Å, increasing and positive; equidistant points are faster.
        aliasing: largest relative error of one pair's amplitude, reached at the largest Q only.

    Raises:
        ValueError: two atoms in one place, or `q` is not an increasing positive sequence.
    """
    if q.size == 0 or not q[0] > 0.0 or not (np.diff(q) > 0.0).all():
        raise ValueError("q must be one increasing sequence of positive numbers, in 1/Å")
    step = min(2.0 * np.pi / float(q[-1]) * (aliasing / 2.0) ** 0.25, 0.5 * CLOSEST)
    centred = atoms.positions - atoms.positions.mean(axis=0)
    longest = 2.0 * float(np.sqrt((centred**2).sum(axis=1).max()))
    length = int(longest / step) + 4
    groups = [np.flatnonzero(atoms.kind == kind) for kind in range(len(atoms.species))]
    names = [(a, b) for a in range(len(groups)) for b in range(a, len(groups))]
    partners = [(groups[a], groups[b] if b != a else None) for a, b in names]
    grids = np.array(
        [_spread(centred, atoms.occupancy, *two, step=step, length=length) for two in partners]
    )
    rows = _transform(grids, step, q)
    pairs = np.empty((len(groups), len(groups), q.size))
    for (a, b), row in zip(names, rows, strict=True):
        pairs[a, b] = pairs[b, a] = 2.0 * row if a == b else row
    counts = np.array([atoms.occupancy[group].sum() for group in groups])
    return Interference(q, atoms, counts, pairs)


def _transform(grids: Float, step: float, q: Float) -> Float:
    """Σ_k G_k sin(Q k h), corrected for the spline, over Q; shape (rows, nq)."""
    at = step * (np.arange(grids.shape[1]) - 1.0)
    used = grids.any(axis=0)  # no pair is so close that it reaches the points at 0 and before
    kernel = np.sinc(0.5 * q * step / np.pi) ** 4
    return sinc_sum(grids[:, used] * at[used], at[used], q) / kernel


def _spread(
    x: Float, occupancy: Float, first: npt.NDArray[np.intp], second: npt.NDArray[np.intp] | None,
    *, step: float, length: int,
) -> Float:  # fmt: skip
    """Grid of w/r, point k at distance (k - 1)·step; like pairs, `second` None, once each."""
    moments = np.zeros((4, length))
    others = first if second is None else second
    rows = max(1, PAIRS_AT_ONCE // max(1, others.size))
    for start in range(0, first.size, rows):
        part = first[start : start + rows]
        rest = others if second is not None else others[start + 1 :]
        if rest.size:
            squared = _squared(x[part], x[rest])
            weights = np.multiply.outer(occupancy[part], occupancy[rest])
            if second is None:  # atom start + i meets those after it only
                i, j = np.tril_indices(part.size, -1, rest.size)
                squared[i, j], weights[i, j] = 1.0, 0.0
            _add(moments, squared.ravel(), weights.ravel(), step)
    grid = np.zeros(length + 3)
    for shift in range(4):
        grid[shift : shift + length] += SPLINE[shift] @ moments
    return grid


def _squared(a: Float, b: Float) -> Float:
    """Squared distances, shape (len(a), len(b))."""
    total = np.subtract.outer(a[:, 0], b[:, 0]) ** 2
    total += np.subtract.outer(a[:, 1], b[:, 1]) ** 2
    total += np.subtract.outer(a[:, 2], b[:, 2]) ** 2
    return total


def _add(moments: Float, squared: Float, weights: Float, step: float) -> None:
    if not squared.min() > CLOSEST**2:
        raise ValueError(f"two atoms are in one place, closer than {CLOSEST:g} Å")
    distance = np.sqrt(squared)
    amplitude = weights / distance
    distance /= step
    index = distance.astype(np.int64)
    fraction = distance - index
    for moment in moments:
        counted = np.bincount(index, weights=amplitude)
        moment[: counted.size] += counted
        amplitude *= fraction
