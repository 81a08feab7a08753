"""Zinc blende, the lattice of the other quantum dots."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from qd_agent.core.pattern import PUBLISHED_GRID
from qd_agent.scattering.ensemble import LATTICE_PARAMETER, cluster_diameters, lognormal_weights
from training.attacks import FACES, Crystal, ForeignNanocrystals
from training.augmentation import Draw
from training.observation import fine_grid
from training.priors import Priors
from training.zinc_blende import ANIONS, CATIONS, ZincBlende, lattice_scale, zinc_blende

Q = fine_grid()
DIAMETERS = cluster_diameters(7.0)
PRIORS = Priors(b_foreign=(1.0, 1.0))


@pytest.fixture(scope="module")
def tables() -> ZincBlende:
    return zinc_blende(DIAMETERS, Q, 0.0112)


def drawing(size: int, seed: int = 0) -> Draw:
    return Draw(torch.Generator().manual_seed(seed), size)


def spheres(mean_nm: float, count: int) -> torch.Tensor:
    shares = lognormal_weights(DIAMETERS, np.array([[mean_nm]]), np.array([[0.1]]))
    return torch.from_numpy(shares / shares.sum()).float().expand(count, -1)


@pytest.mark.parametrize("mean_nm", [2.0, 4.0])
def test_a_pattern_is_the_one_summed_over_the_atoms_of_its_unit_cell(
    tables: ZincBlende, mean_nm: float
):
    """Against the simulator of the attacks, which knows nothing of zinc blende but its cell."""
    a = LATTICE_PARAMETER
    cell = ((a, 0.0, 0.0), (0.0, a, 0.0), (0.0, 0.0, a))
    atoms = tuple(
        (element, (x + s, y + s, z + s)) for element, s in (("In", 0.0), ("P", 0.25))
        for x, y, z in FACES
    )  # fmt: skip
    exact = ForeignNanocrystals(Crystal("InP", cell, atoms, b=1.0)).pattern(mean_nm)
    cation, anion = CATIONS.index("In"), ANIONS.index("P")
    only = replace(
        tables,
        cations=tables.cations[cation : cation + 1],
        anions=tables.anions[anion : anion + 1],
    )
    pattern = only.patterns(spheres(mean_nm, 1), PRIORS, drawing(1))[0].numpy()
    drawn = np.interp(PUBLISHED_GRID.values(), Q, pattern)
    np.testing.assert_allclose(drawn / drawn.mean(), exact, atol=0.02 * exact.max())


def test_zinc_blende_lacks_what_rock_salt_shows_second(tables: ZincBlende):
    """Of 111, 200 and 220, the second is weak: the two kinds of atoms oppose each other there."""
    patterns = tables.patterns(spheres(5.0, 40), PRIORS, drawing(40)).numpy()
    first, second, third = (
        patterns[:, np.abs(Q - 2 * np.pi / LATTICE_PARAMETER * np.sqrt(m)).argmin()]
        for m in (3, 4, 8)
    )
    assert (second < third).all()
    assert (third < first).all()


def test_half_of_the_lattices_are_close_to_that_of_pbs():
    scale = lattice_scale(Priors(), drawing(2000)).numpy()
    near, whole = Priors().near_lattices, Priors().zinc_blende_lattices
    assert (scale >= whole[0]).all()
    assert (scale <= whole[1]).all()
    beyond = 1.0 - (near[1] - near[0]) / (whole[1] - whole[0])
    close = np.mean((scale > near[0]) & (scale < near[1]))
    assert close == pytest.approx(1.0 - 0.5 * beyond, abs=0.04)


def test_no_patterns_are_drawn_where_none_are_asked_for(tables: ZincBlende):
    assert tables.patterns(spheres(4.0, 0), PRIORS, drawing(0)).shape == (0, len(Q))
