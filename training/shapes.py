"""Shapes of a nanocrystal: convex bodies of the volume of a sphere, centred on a site.

A half-space description each, so that a site is inside when every face's inequality holds. The
volumes are elementary geometry; with half edge or half diagonal s, cube 8 s³, octahedron
|x|+|y|+|z| ≤ s: 4/3 s³, cuboctahedron |x| ≤ s and |x|+|y|+|z| ≤ 2s: 20/3 s³, truncated octahedron
(the regular one) |x| ≤ s and |x|+|y|+|z| ≤ 3s/2: 4 s³.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]
Point = tuple[float, float, float]


class Shape(StrEnum):
    """Outer shape; facets {100} bound the cube, {111} the octahedron, both the last two."""

    SPHERE = "sphere"
    CUBE = "cube"
    OCTAHEDRON = "octahedron"
    TRUNCATED_OCTAHEDRON = "truncated_octahedron"
    CUBOCTAHEDRON = "cuboctahedron"


@dataclass(frozen=True, slots=True)
class Facets:
    """Distances in units of the radius of the sphere of equal volume; inf where there is no face.

    Attributes:
        cube: largest |x|, |y|, |z|.
        octahedron: largest |x| + |y| + |z|.
        reach: largest |x| of any point of the body.
    """

    cube: float
    octahedron: float
    reach: float


def facets(shape: Shape) -> Facets:
    """Faces of a shape whose volume is that of the unit sphere, 4π/3.

    Raises:
        ValueError: the sphere has none.
    """
    if shape is Shape.CUBE:
        half = (np.pi / 6.0) ** (1.0 / 3.0)
        return Facets(half, np.inf, half)
    if shape is Shape.OCTAHEDRON:
        corner = np.pi ** (1.0 / 3.0)
        return Facets(np.inf, corner, corner)
    if shape is Shape.CUBOCTAHEDRON:
        half = (np.pi / 5.0) ** (1.0 / 3.0)
        return Facets(half, 2.0 * half, half)
    if shape is Shape.TRUNCATED_OCTAHEDRON:
        half = (np.pi / 3.0) ** (1.0 / 3.0)
        return Facets(half, 1.5 * half, half)
    raise ValueError("a sphere has no facets")


def reach(shape: Shape) -> float:
    """Largest |x| of the body in units of the radius of the sphere of equal volume."""
    return 1.0 if shape is Shape.SPHERE else facets(shape).reach


def gauge(shape: Shape, x: Float, y: Float, z: Float) -> Float:
    """Radius of the sphere whose volume the body has that just reaches a point.

    Coordinates broadcast together; the result has their unit. A shape is the set of points whose
    gauge is at most its radius, so the difference of the two tells how deep inside a point lies.
    """
    if shape is Shape.SPHERE:
        return np.sqrt(x**2 + y**2 + z**2)
    faces = facets(shape)
    x, y, z = np.abs(x), np.abs(y), np.abs(z)
    largest = np.maximum(np.maximum(x, y), z) / faces.cube
    return np.maximum(largest, (x + y + z) / faces.octahedron)


def inside(shape: Shape, radius: float, x: Float, y: Float, z: Float) -> npt.NDArray[np.bool_]:
    """Tell which points lie in or on the body of volume 4/3 π radius³ around the origin.

    Coordinates broadcast together and have the unit of `radius`; a point less than 1e-9 beyond
    the surface counts as on it.
    """
    return gauge(shape, x, y, z) <= radius + 1e-9


def centres(shape: Shape) -> tuple[Point, ...]:
    """Where the body may be centred, in units of a/2 from a Pb.

    A sphere on Pb, as published. Facets take whole layers of sites at once, so a faceted body
    around Pb alone grows in steps of up to 0.8 nm; around S and around the middle between eight
    atoms it grows at other sizes, and together the steps are as fine as those of the spheres.
    """
    lead = (0.0, 0.0, 0.0)
    return (lead,) if shape is Shape.SPHERE else (lead, (1.0, 0.0, 0.0), (0.5, 0.5, 0.5))
