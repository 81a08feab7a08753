"""Strain read from a table against strain computed."""

import numpy as np
import pytest

from training.debye import build_library, partial_sums
from training.shapes import Shape
from training.strain import StrainTable

Q = 0.99 + 0.0028 * np.arange(5004)


@pytest.mark.parametrize(
    ("diameter", "shape", "elongation"),
    [(10.2, Shape.SPHERE, 0.0), (5.0, Shape.OCTAHEDRON, 0.0), (3.0, Shape.CUBE, 0.007)],
)
def test_the_table_is_within_5e_8_of_the_exact_sums(
    diameter: float, shape: Shape, elongation: float
):
    library = build_library(diameter, shape, elongation)
    table = StrainTable.build(library, Q)
    for scale in (0.97, 0.99613, 1.0, 1.00437, 1.03):
        found, exact = table.sums(scale), partial_sums(library, Q, scale)
        for name in ("lead_lead", "lead_sulfur", "sulfur_sulfur"):
            error = np.linalg.norm(getattr(found, name) - getattr(exact, name), axis=1)
            assert (error <= 5e-8 * np.linalg.norm(getattr(exact, name), axis=1)).all(), name
        np.testing.assert_array_equal(found.lead, exact.lead)


def test_uneven_points_near_zero_are_read_too():
    library = build_library(4.0)
    q = np.geomspace(1e-3, 3.0, 200)
    table = StrainTable.build(library, q, (0.9, 1.1))
    found, exact = table.sums(0.93).lead_lead, partial_sums(library, q, 0.93).lead_lead
    assert np.linalg.norm(found - exact) < 5e-8 * np.linalg.norm(exact)


def test_what_the_table_does_not_hold_is_refused():
    library = build_library(2.0)
    table = StrainTable.build(library, Q[:100], (0.99, 1.01))
    for scale in (0.98, 1.02, float("nan")):
        with pytest.raises(ValueError, match="outside the table"):
            table.sums(scale)
    with pytest.raises(ValueError, match="ascending"):
        StrainTable.build(library, Q, (1.1, 0.9))
    for bad in (Q[::-1], np.array([]), np.array([0.0, 1.0])):
        with pytest.raises(ValueError, match="increasing sequence of positive"):
            StrainTable.build(library, bad)
