"""Pixels that do not count: the static mask, and those that one frame says nothing in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qd_agent.core.errors import Fatal
from qd_agent.reduction.geometry import Geometry, Shape, orient
from qd_agent.reduction.images import read_image
from qd_agent.reduction.settings import Orientation

Bool = npt.NDArray[np.bool_]

_UNCOUNTABLE = 1e30


def load_mask(path: Path | None, axes: int = 2) -> tuple[Bool | None, str]:
    """Give (mask as stored, True = masked; sha256 of its file), or (None, '') without one.

    A floating-point mask's NaN counts as masked.

    Raises:
        Fatal: the file is missing or no image, or it masks everything.
    """
    if path is None:
        return None, ""
    image, sha256 = read_image(path, "mask", axes)
    mask = image != 0
    if mask.all():
        raise Fatal(f"reduction: the mask {path} masks every pixel (nonzero means masked)")
    return mask, sha256


def static_mask(
    geometry: Geometry, mask: Bool | None, shape: Shape, orientation: Orientation
) -> Bool:
    """Join the configured mask with that of the PONI's detector (module gaps).

    Returns:
        Mask in the PONI's orientation, True = masked, of `shape`.
    """
    masked = np.zeros(shape, dtype=np.bool_)
    if mask is not None:
        masked |= orient(mask, orientation)
    own = geometry.integrator.detector.mask
    if own is not None and np.shape(own) == shape:
        masked |= np.asarray(own) != 0
    return masked


def invalid_pixels(image: npt.NDArray[Any]) -> Bool:
    """Find pixels without a count in one frame, same shape as `image`.

    Unsigned integers: the largest value, which photon counters (Eiger) write where there is no
    data. Signed integers: negative values (Pilatus writes -1 in gaps, -2 in dead pixels).
    Floats: NaN, infinities, and what no detector can count (1e30 and beyond).
    """
    kind = image.dtype.kind
    if kind == "u":
        return image == np.iinfo(image.dtype).max
    if kind == "i":
        return image < 0
    return ~(np.abs(image.astype(np.float64)) < _UNCOUNTABLE)
