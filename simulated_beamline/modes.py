"""The three kinds of scan: each prepares an output folder and says what to take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from simulated_beamline.errors import BeamlineError
from simulated_beamline.formats import FramesAs
from simulated_beamline.layout import (
    Pixels,
    pilatus_1m,
    pixels_of,
    write_calibration,
)
from simulated_beamline.projection import Projector
from simulated_beamline.recorded_frames import read_frames, read_mask
from simulated_beamline.recorded_patterns import read_patterns
from simulated_beamline.sample import QAxis, reacting_sample
from simulated_beamline.scenes import Exposure, GrowthScene, PatternScene, ReplayScene
from simulated_beamline.session import ScanRequest
from simulated_beamline.strip import StripProjector, strip_pixels, write_axis
from simulated_beamline.synthesis import Kinetics


@dataclass(frozen=True, slots=True)
class Common:
    """What every mode is told.

    Attributes:
        output: folder for frames, PONI, mask and truth; made when missing.
        rate_hz: frames per second.
        darks: dark frames before the scan.
        seed: of all random numbers.
        binning: 1 for the full detector; 2 or 4 for small frames.
        flip_rows: store frames row-flipped against their PONI.
        sample_name: for the start document; '' takes the mode's own.
        frames_as: how frames are stored and announced.
        frames_per_event: frames that each event of 'primary' has.
        about: more for the start document.

    Raises:
        BeamlineError: several frames an event in a form that has no place for them.
    """

    output: Path
    rate_hz: float = 2.0
    darks: int = 3
    seed: int = 1
    binning: int = 1
    flip_rows: bool = False
    sample_name: str = ""
    frames_as: FramesAs = FramesAs.HDF5
    frames_per_event: int = 1
    about: Mapping[str, object] = field(default_factory=dict[str, object])

    def __post_init__(self) -> None:
        if self.frames_per_event > 1 and (
            self.frames_as.is_plain or self.frames_as is FramesAs.FLY
        ):
            raise BeamlineError(f"frames as {self.frames_as} come one an event")


def growth(common: Common, kinetics: Kinetics, frames: int, counts: float) -> ScanRequest:
    """Prepare an in-situ synthesis of `frames` frames.

    Args:
        common: settings of every mode.
        kinetics: of the synthesis.
        frames: number of frames.
        counts: counts of a pixel near the beam where the pattern has its mean value.
    """
    projector, pixels, axis, wavelength = _stand(common)
    sample = reacting_sample(axis, wavelength, common.seed, kinetics.plateau_diameter_nm)
    exposure = Exposure(counts, frames, common.seed, common.flip_rows)
    scene = GrowthScene(projector, pixels, sample, kinetics, exposure)
    name = "PbS nanocrystals, hot injection"
    return ScanRequest(
        mode="growth",
        scene=scene,
        gauges=("monitor", "reactor_temperature"),
        frames=frames,
        darks=common.darks,
        rate_hz=common.rate_hz,
        output=common.output,
        metadata=_metadata(common, name, wavelength),
        frames_as=common.frames_as,
        frames_per_event=common.frames_per_event,
    )


def patterns(
    common: Common,
    folder: Path,
    *,
    unit: str,
    wavelength: float | None,
    repeat: int,
    counts: float,
) -> ScanRequest:
    """Prepare a scan of recorded patterns, each projected by Q at the detector's own wavelength.

    Args:
        common: settings of every mode.
        folder: of the .xy and .xye files.
        unit: of their first column.
        wavelength: at which all of them were recorded, Å, or None to look it up.
        repeat: frames per pattern.
        counts: mean counts of a pixel.

    Raises:
        BeamlineError: a pattern cannot be read.
    """
    recorded = read_patterns(folder, QAxis(), unit, wavelength)
    projector, pixels, _, at_wavelength = _stand(common)
    frames = len(recorded) * repeat
    exposure = Exposure(counts, frames, common.seed, common.flip_rows)
    scene = PatternScene(projector, pixels, recorded, repeat, exposure)
    return ScanRequest(
        mode="patterns",
        scene=scene,
        gauges=("monitor", "pattern_index"),
        frames=frames,
        darks=common.darks,
        rate_hz=common.rate_hz,
        output=common.output,
        metadata=_metadata(common, folder.resolve().name, at_wavelength),
        frames_as=common.frames_as,
        frames_per_event=common.frames_per_event,
    )


def frames(
    common: Common, folder: Path, poni: Path | None, mask: Path | None, repeat: int
) -> ScanRequest:
    """Prepare a replay of recorded frames, as they are.

    Args:
        common: settings of every mode (binning, seed and darks do not apply).
        folder: of the TIFF or HDF5 files.
        poni: their PONI file; None takes the only .poni in the folder.
        mask: their mask; None writes one that masks nothing.
        repeat: how often the whole series is shown.

    Raises:
        BeamlineError: no frames, no single PONI, a mask of another shape, or frames as strips.
    """
    if common.frames_as is FramesAs.STRIP:
        raise BeamlineError("recorded images cannot be shown by a strip detector")
    if folder.resolve() == common.output.resolve():
        raise BeamlineError(f"{folder} is where the frames come from; choose another --output")
    images, names = read_frames(folder)
    content = _the_poni(folder, poni).read_bytes()
    if common.flip_rows:
        images = [image[::-1] for image in images]
    common.output.mkdir(parents=True, exist_ok=True)
    shape = (images[0].shape[0], images[0].shape[1])
    masked = np.zeros(shape, np.bool_) if mask is None else read_mask(mask, shape)
    masked = masked[::-1] if common.flip_rows else masked
    write_calibration(common.output, content, masked)
    return ScanRequest(
        mode="frames",
        scene=ReplayScene(images, names),
        gauges=("frame_index",),
        frames=len(images) * repeat,
        darks=0,
        rate_hz=common.rate_hz,
        output=common.output,
        metadata=_metadata(common, folder.resolve().name, None),
        frames_as=common.frames_as,
        frames_per_event=common.frames_per_event,
    )


def _stand(common: Common) -> tuple[Projector | StripProjector, Pixels, QAxis, float]:
    """Put up the detector, leave what calibrates it in the output folder, give its wavelength.

    That is PONI and mask, or of a strip detector axis and mask.
    """
    geometry, axis = pilatus_1m(common.binning), QAxis()
    if common.frames_as is FramesAs.STRIP:
        pixels = strip_pixels(common.seed)
        write_axis(common.output, pixels.masked)
        return StripProjector(geometry.wavelength, axis), pixels, axis, geometry.wavelength
    pixels = pixels_of(geometry, common.seed)
    common.output.mkdir(parents=True, exist_ok=True)
    masked = pixels.masked[::-1] if common.flip_rows else pixels.masked
    write_calibration(common.output, geometry.poni(), masked)
    return Projector(geometry, axis), pixels, axis, geometry.wavelength


def _metadata(common: Common, usual_name: str, wavelength: float | None) -> dict[str, object]:
    name = common.sample_name or usual_name
    metadata: dict[str, object] = {"beamline_id": "simulated", "sample_name": name}
    if wavelength is not None:
        metadata["wavelength_angstrom"] = wavelength
    return {**metadata, **common.about}


def _the_poni(folder: Path, poni: Path | None) -> Path:
    if poni is not None:
        if not poni.is_file():
            raise BeamlineError(f"no such PONI file: {poni}")
        return poni
    found = sorted(folder.glob("*.poni"))
    if len(found) != 1:
        raise BeamlineError(f"{folder} holds {len(found)} .poni files; say which with --poni")
    return found[0]
