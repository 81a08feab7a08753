"""What every image must be, wherever it comes from."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from qd_agent.core.errors import BadFrame
from qd_agent.core.frame import FrameReference

REAL_KINDS = "buif"
"""numpy kinds of real numbers: bool, unsigned, signed, floating."""


def check_image(
    reference: FrameReference, shape: tuple[int, ...], kind: str, max_pixels: int
) -> None:
    """Refuse an image that is not what the descriptor declared, before its pixels are touched.

    Args:
        reference: the frame, with its declared shape.
        shape: shape of the image that was found.
        kind: numpy kind of its dtype.
        max_pixels: largest number of pixels allowed.

    Raises:
        BadFrame: wrong shape, too large, or not real numbers.
    """
    if tuple(shape) != tuple(reference.shape):
        raise BadFrame(
            f"frame {reference.key}: the image has shape {tuple(shape)}, its descriptor declares "
            f"{tuple(reference.shape)}"
        )
    if math.prod(shape) > max_pixels:
        raise BadFrame(
            f"frame {reference.key}: {' × '.join(map(str, shape))} pixels are more than "
            f"max_pixels = {max_pixels}"
        )
    if kind not in REAL_KINDS:
        raise BadFrame(f"frame {reference.key}: the image's values are not real numbers")


def declared_dtype(reference: FrameReference) -> np.dtype[np.generic] | None:
    """Give the dtype that the descriptor declares, or None when it is silent.

    Raises:
        BadFrame: the declared dtype is no dtype of real numbers.
    """
    if reference.dtype is None:
        return None
    text = reference.dtype
    # Only plain codes such as '<u4': numpy's dtype parser takes far more than a document should.
    code = text.lstrip("<>=|")
    if 1 <= len(code) <= 3 and code[0] in REAL_KINDS and (code[1:].isdigit() or code == "b"):
        try:
            found: npt.DTypeLike = np.dtype(text)
        except TypeError:
            pass
        else:
            return np.dtype(found)
    raise BadFrame(
        f"frame {reference.key}: its descriptor declares dtype_numpy {text[:40]!r}; expected a "
        "code of real numbers such as '<u4'"
    )


def check_declared(reference: FrameReference, found: np.dtype[np.generic]) -> None:
    """Compare a file's dtype with the declared one; the byte order is the file's own affair.

    Raises:
        BadFrame: they differ, or the declared one is no dtype of real numbers.
    """
    declared = declared_dtype(reference)
    if declared is not None and (declared.kind, declared.itemsize) != (found.kind, found.itemsize):
        raise BadFrame(
            f"frame {reference.key}: the file holds {found} values, its descriptor declares "
            f"{declared}"
        )
