"""The detector as it stands in the hutch: geometry, gaps, beam stop, bad pixels, PONI and mask."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from simulated_beamline.errors import BeamlineError

Mask = npt.NDArray[np.bool_]

NO_DATA = np.uint32(2**32 - 1)
"""What a pixel without data carries, as an Eiger writes it: the largest number of its type."""

MODULE, GAP = (195, 487), (17, 7)
"""Rows and columns of one Pilatus module, and of the gaps between modules (Dectris manual)."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """A flat detector, perpendicular to the beam, in pyFAI's terms (orientation 3).

    Attributes:
        shape: (rows, columns).
        pixel_m: edge of the square pixels, m.
        distance_m: sample to detector, m.
        poni1_m: where the beam hits, along the rows' axis (from row 0), m.
        poni2_m: likewise along the columns' axis, m.
        wavelength: X-ray wavelength, Å.
        binning: how many physical pixels make one, along each axis.
    """

    shape: tuple[int, int] = (1043, 981)
    pixel_m: float = 172e-6
    distance_m: float = 0.400
    poni1_m: float = 0.0302
    poni2_m: float = 0.0297
    wavelength: float = 0.1839
    binning: int = 1

    def poni(self) -> bytes:
        """Content of the PONI file, version 2.1."""
        detector, config = "Pilatus1M", {"orientation": 3}
        if self.binning != 1:
            detector = "Detector"
            config = {
                "pixel1": self.pixel_m,
                "pixel2": self.pixel_m,
                "max_shape": list(self.shape),
                "orientation": 3,
            }
        text = (
            "# Simulated beamline: flat detector perpendicular to the beam\n"
            "poni_version: 2.1\n"
            f"Detector: {detector}\n"
            f"Detector_config: {json.dumps(config)}\n"
            f"Distance: {self.distance_m!r}\n"
            f"Poni1: {self.poni1_m!r}\n"
            f"Poni2: {self.poni2_m!r}\n"
            "Rot1: 0.0\nRot2: 0.0\nRot3: 0.0\n"
            f"Wavelength: {self.wavelength * 1e-10!r}\n"
        )
        return text.encode()


def pilatus_1m(binning: int = 1) -> Geometry:
    """Give the default detector, beam near one corner; `binning` 2 or 4 makes small test frames.

    Q runs from 0.5 (beam stop) past 15 1/Å, a pixel is at most 0.0147 1/Å wide.

    Raises:
        BeamlineError: binning is not 1, 2 or 4.
    """
    if binning not in (1, 2, 4):
        raise BeamlineError(f"binning {binning} is not one of 1, 2, 4")
    full = Geometry()
    rows, columns = full.shape
    return Geometry(
        shape=(rows // binning, columns // binning),
        pixel_m=full.pixel_m * binning,
        binning=binning,
    )


@dataclass(frozen=True, slots=True)
class Pixels:
    """What is wrong with which pixel; every array has the detector's shape.

    Attributes:
        gap: no pixel there; carries `NO_DATA`.
        transmission: 0 behind the beam stop, little behind its arm, else 1.
        dead: always zero.
        hot: counts without light, 100 to a million a frame (and so is noisy).
        masked: what the beamline's mask file covers (most bad pixels, not all of them).
        dark_rate: mean counts per frame without light, hot pixels included.
    """

    gap: Mask
    transmission: npt.NDArray[np.float32]
    dead: Mask
    hot: Mask
    masked: Mask
    dark_rate: npt.NDArray[np.float32]


def pixels_of(geometry: Geometry, seed: int) -> Pixels:
    """Draw the detector's faults: 0.02 % dead, 0.01 % hot pixels, nine in ten of them known."""
    rng = np.random.default_rng([seed, 0xBAD])
    shape = geometry.shape
    gap = gaps(geometry)
    dead = (rng.random(shape) < 2e-4) & ~gap
    hot = (rng.random(shape) < 1e-4) & ~gap & ~dead
    transmission, shadow = beam_stop(geometry)
    known = rng.random(shape) < 0.9
    dark_rate = (0.02 * rng.lognormal(0.0, 0.5, shape)).astype(np.float32)
    dark_rate[hot] = 10.0 ** rng.uniform(2.0, 6.0, np.count_nonzero(hot))
    return Pixels(
        gap=gap,
        transmission=transmission,
        dead=dead,
        hot=hot,
        masked=gap | shadow | ((dead | hot) & known),
        dark_rate=dark_rate,
    )


def gaps(geometry: Geometry) -> Mask:
    """Pixels that fall between the modules, shape of the detector."""
    physical = tuple(size * geometry.binning for size in geometry.shape)
    row = np.arange(physical[0]) % (MODULE[0] + GAP[0]) >= MODULE[0]
    column = np.arange(physical[1]) % (MODULE[1] + GAP[1]) >= MODULE[1]
    n = geometry.binning
    row = row.reshape(-1, n, 1).any(axis=1)
    column = column.reshape(1, -1, n).any(axis=2)
    gap: Mask = np.logical_or(row, column)
    return gap


def beam_stop(geometry: Geometry) -> tuple[npt.NDArray[np.float32], Mask]:
    """Give (transmission, pixels to mask) of a 5 mm disc held by a 2 mm arm from the top edge.

    The mask is drawn 1 mm wider than the shadow.
    """
    rows, columns = geometry.shape
    y = (np.arange(rows) + 0.5)[:, np.newaxis] * geometry.pixel_m - geometry.poni1_m
    x = (np.arange(columns) + 0.5)[np.newaxis, :] * geometry.pixel_m - geometry.poni2_m
    radius = np.hypot(x, y)
    transmission = np.ones(geometry.shape, dtype=np.float32)
    transmission[(np.abs(x) < 1e-3) & (y < 0.0)] = 0.05
    transmission[radius < 5e-3] = 0.0
    return transmission, (radius < 6e-3) | ((np.abs(x) < 2e-3) & (y < 0.0))


def write_calibration(folder: Path, poni: bytes, masked: Mask) -> tuple[Path, Path]:
    """Write `detector.poni` and `mask.npy` (uint8, 1 = masked); give both paths.

    The mask is in the orientation of the stored frames, as one drawn on them would be. The PONI
    appears last and whole, so whoever waits for it finds everything.
    """
    poni_path, mask_path = folder / "detector.poni", folder / "mask.npy"
    np.save(mask_path, masked.astype(np.uint8))
    _write_whole(poni_path, poni)
    return poni_path, mask_path


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is never seen half written."""
    unfinished = path.with_name(f".{path.name}.part")
    unfinished.write_bytes(content)
    unfinished.replace(path)
