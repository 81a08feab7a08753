"""The geometry of the detector, from its PONI file, and the orientation of the stored images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from qd_agent.core.errors import Fatal
from qd_agent.reduction.images import quiet_libraries, read_file
from qd_agent.reduction.settings import Orientation

Shape = tuple[int, int]
Scalar = TypeVar("Scalar", bound=np.generic)

WAVELENGTH_TOLERANCE = 1e-3
"""Relative difference between configured and calibrated wavelength that is still the same."""

_REQUIRED = ("distance", "poni1", "poni2", "rot1", "rot2", "rot3")


@dataclass(frozen=True, slots=True)
class Geometry:
    """A loaded PONI file.

    Attributes:
        integrator: pyFAI's AzimuthalIntegrator.
        sha256: of the PONI file.
        wavelength: Å.
        shape: (height, width) that the PONI's detector states, or None when it states none.
        path: where it came from, for messages.
    """

    integrator: Any
    sha256: str
    wavelength: float
    shape: Shape | None
    path: Path


def load_geometry(path: Path, wavelength: float | None = None) -> Geometry:
    """Load a PONI file.

    Args:
        path: the PONI file.
        wavelength: Å; None takes the file's.

    Raises:
        Fatal: no such file, not a PONI, no wavelength anywhere, or two that differ.
    """
    content, sha256 = read_file(path, "PONI", largest=2**20)
    _check_is_poni(content, path)
    integrator = _load(path)
    stated = integrator.wavelength
    calibrated = None if stated is None else float(stated) * 1e10
    chosen = _choose_wavelength(path, calibrated, wavelength)
    if calibrated != chosen:
        integrator.wavelength = chosen * 1e-10
    return Geometry(integrator, sha256, chosen, _stated_shape(integrator), path)


def orient(image: npt.NDArray[Scalar], orientation: Orientation) -> npt.NDArray[Scalar]:
    """Turn a stored image so that it matches the PONI; every choice undoes itself."""
    if orientation == "flip_rows":
        return image[::-1]
    if orientation == "flip_columns":
        return image[:, ::-1]
    if orientation == "rotate_180":
        return image[::-1, ::-1]
    return image


def _check_is_poni(content: bytes, path: Path) -> None:
    text = content.decode("utf-8", errors="replace")
    keys = {line.partition(":")[0].strip().lower() for line in text.splitlines() if ":" in line}
    wanted = [key for key in _REQUIRED if key not in keys]
    if wanted:
        raise Fatal(
            f"reduction: {path} is not a PONI file: it has no line '{wanted[0].capitalize()}: ...'"
        )


def _load(path: Path) -> Any:
    import pyFAI  # noqa: PLC0415 - heavy: loaded when a reducer is opened

    try:
        with quiet_libraries():
            integrator: Any = pyFAI.load(str(path))
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, OSError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        raise Fatal(f"reduction: pyFAI cannot read the PONI file {path}: {reason}") from error
    distance = integrator.dist
    if distance is None or not math.isfinite(distance) or distance <= 0:
        raise Fatal(f"reduction: the PONI file {path} states no positive distance: {distance}")
    numbers = (getattr(integrator, key) for key in _REQUIRED[1:])
    if not all(number is not None and math.isfinite(number) for number in numbers):
        raise Fatal(f"reduction: the PONI file {path} has a PONI or rotation that is no number")
    sizes = (integrator.detector.pixel1, integrator.detector.pixel2)
    if not all(size is not None and math.isfinite(size) and size > 0 for size in sizes):
        raise Fatal(f"reduction: the PONI file {path} states no pixel size (or detector)")
    return integrator


def _choose_wavelength(path: Path, calibrated: float | None, configured: float | None) -> float:
    if calibrated is not None and not (math.isfinite(calibrated) and calibrated > 0):
        raise Fatal(f"reduction: the PONI file {path} states an impossible wavelength")
    if configured is None:
        if calibrated is None:
            raise Fatal(
                f"reduction: the PONI file {path} states no wavelength; set reduction.wavelength"
            )
        return calibrated
    if calibrated is not None and abs(configured / calibrated - 1.0) > WAVELENGTH_TOLERANCE:
        raise Fatal(
            f"reduction: the wavelength is {configured:.6g} Å in the configuration but "
            f"{calibrated:.6g} Å in the PONI file {path}; correct one of them, or leave "
            "reduction.wavelength empty"
        )
    return configured


def _stated_shape(integrator: Any) -> Shape | None:
    shape = integrator.detector.shape
    if shape is None or len(shape) != 2:
        return None
    return int(shape[0]), int(shape[1])
