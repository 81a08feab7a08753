"""Frames that travelled inside their event."""

from __future__ import annotations

import numpy as np

from qd_agent.core.errors import BadFrame
from qd_agent.core.frame import Frame, FrameReference
from qd_agent.frames.checks import check_image, declared_dtype


def read_inline(reference: FrameReference, max_pixels: int) -> Frame:
    """Give the pixels that the event carried, as the declared dtype.

    A JSON list arrives as int64 or float64 whatever the detector's dtype is, so whole numbers
    are brought to the declared dtype when none of them changes by it.

    Raises:
        BadFrame: no array, wrong shape, not real numbers, too large, or not the declared dtype.
    """
    image = reference.array
    if image is None:
        raise BadFrame(f"frame {reference.key}: its event holds no image made of numbers")
    check_image(reference, image.shape, image.dtype.kind, max_pixels)
    declared = declared_dtype(reference)
    if declared is None or declared == image.dtype:
        return Frame(reference, image)
    if declared.kind in "iuf" and image.dtype.kind in "iuf":
        with np.errstate(invalid="ignore", over="ignore"):
            converted = image.astype(declared)
        if (converted == image).all() or (declared.kind == image.dtype.kind == "f"):
            return Frame(reference, converted)
    raise BadFrame(
        f"frame {reference.key}: the event holds {image.dtype} values, which its descriptor's "
        f"{declared} cannot hold; correct dtype_numpy"
    )
