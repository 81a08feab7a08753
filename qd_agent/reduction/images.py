"""Images that the configuration names (mask, dark), read once at start."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import struct
from collections.abc import Generator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from qd_agent.core.errors import Fatal
from qd_agent.reduction.settings import IMAGE_SUFFIXES

Image = npt.NDArray[np.generic]

_LARGEST_FILE = 2**30
"""No detector image is larger than 1 GiB; a file that is, is something else."""

_DECODING = (ValueError, OSError, KeyError, IndexError, EOFError, TypeError, struct.error)
"""What numpy, tifffile and fabio raise on files that are not what their name says."""


def read_file(path: Path, what: str, largest: int = _LARGEST_FILE) -> tuple[bytes, str]:
    """Give the content of a file that the configuration names, and its sha256.

    Args:
        path: the file.
        what: its role in the configuration ('mask', 'PONI'), for the message.
        largest: bytes above which the file is refused.

    Raises:
        Fatal: it is missing, no plain file, unreadable or too large.
    """
    try:
        if not path.is_file():
            raise Fatal(f"reduction: the {what} file {path} does not exist (or is no plain file)")
        if path.stat().st_size > largest:
            raise Fatal(f"reduction: the {what} file {path} is larger than {largest} bytes")
        content = path.read_bytes()
    except OSError as error:
        raise Fatal(f"reduction: the {what} file {path} cannot be read: {error}") from error
    return content, hashlib.sha256(content).hexdigest()


def read_image(path: Path, what: str, axes: int = 2) -> tuple[Image, str]:
    """Read a real image (.npy, .tif, .tiff, .edf) of two axes, or with `axes` 1 a row of numbers.

    Returns:
        (image of shape (height, width) or (channels,), sha256 of the file).

    Raises:
        Fatal: missing, of another format, damaged, or no numbers of so many axes.
    """
    suffix = path.suffix.lower()
    if suffix not in IMAGE_SUFFIXES:
        raise Fatal(f"reduction: the {what} {path} must be one of {', '.join(IMAGE_SUFFIXES)}")
    content, sha256 = read_file(path, what)
    try:
        with quiet_libraries():
            image = _decode(content, path, suffix)
    except _DECODING as error:
        kind = type(error).__name__
        raise Fatal(
            f"reduction: the {what} {path} is not a readable {suffix} image ({kind})"
        ) from error
    if axes == 1 and image.ndim == 2 and image.shape[0] == 1:
        image = image[0]
    if image.ndim != axes or not is_real(image) or image.size == 0:
        wanted = "two-dimensional image" if axes == 2 else "row"
        raise Fatal(
            f"reduction: the {what} {path} is no {wanted} of numbers: "
            f"shape {image.shape}, dtype {image.dtype}"
        )
    return image, sha256


@contextlib.contextmanager
def quiet_libraries() -> Generator[None]:
    """Keep pyFAI, fabio and tifffile from logging tracebacks; our own one line says it all."""
    loggers = [logging.getLogger(name) for name in ("pyFAI", "fabio", "tifffile")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def is_real(image: Image) -> bool:
    """Whether the array holds real numbers (or truth values)."""
    return image.dtype.kind in "buif"


def _decode(content: bytes, path: Path, suffix: str) -> Image:
    if suffix == ".npy":
        return np.asarray(np.load(io.BytesIO(content), allow_pickle=False))
    if suffix == ".edf":
        import fabio  # noqa: PLC0415 - heavy, and needed for this format alone

        with fabio.open(str(path)) as opened:
            if opened.incomplete_data:
                raise ValueError("truncated")  # fabio fills the rest with zeros
            return np.asarray(opened.data)
    import tifffile  # noqa: PLC0415 - heavy, and needed for this format alone

    return np.asarray(tifffile.imread(io.BytesIO(content)))
