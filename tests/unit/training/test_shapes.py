"""Convex bodies of one volume."""

import numpy as np
import pytest

from training.shapes import Shape, centres, facets, gauge, inside, reach


@pytest.mark.parametrize("shape", list(Shape))
def test_a_body_has_the_volume_of_the_sphere(shape: Shape):
    x, y, z = np.random.default_rng(2).uniform(0.0, 1.5, (3, 1_000_000))
    octant = inside(shape, 1.0, x, y, z).mean() * 1.5**3
    assert 8.0 * octant == pytest.approx(4.0 / 3.0 * np.pi, rel=8e-3)


@pytest.mark.parametrize("shape", list(Shape))
def test_the_reach_is_the_largest_coordinate_inside(shape: Shape):
    tip = np.array([reach(shape)]), np.zeros(1), np.zeros(1)
    assert gauge(shape, *tip) == pytest.approx(1.0)
    x, y, z = np.random.default_rng(0).uniform(-1.5, 1.5, (3, 20_000))
    assert np.abs(x[inside(shape, 1.0, x, y, z)]).max() <= reach(shape) + 1e-9


def test_the_gauge_scales_with_the_point_and_names_the_facets():
    x, y, z = np.random.default_rng(1).normal(size=(3, 50))
    for shape in Shape:
        np.testing.assert_allclose(gauge(shape, 3 * x, 3 * y, 3 * z), 3 * gauge(shape, x, y, z))
    one, nothing = np.ones(1), np.zeros(1)
    # of equal volume, an octahedron is thinnest along 111 and a cube along 100
    assert gauge(Shape.OCTAHEDRON, one, one, one) > gauge(Shape.CUBE, one, one, one)
    assert gauge(Shape.OCTAHEDRON, one, nothing, nothing) < gauge(Shape.CUBE, one, nothing, nothing)


def test_spheres_have_no_facets_and_stand_on_lead_alone():
    with pytest.raises(ValueError, match="no facets"):
        facets(Shape.SPHERE)
    assert centres(Shape.SPHERE) == ((0.0, 0.0, 0.0),)
