"""Names of frames and the records that carry them from the documents to the detector image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field


class FrameKey(BaseModel):
    """The one name of one detector frame; every store uses it to recognise repeats."""

    model_config = ConfigDict(frozen=True)

    run_uid: str = Field(
        min_length=1, max_length=128, description="uid of the run's start document"
    )
    stream: str = Field(min_length=1, max_length=128, description="event stream, such as 'primary'")
    data_key: str = Field(min_length=1, max_length=128, description="data key of the detector")
    seq_num: int = Field(ge=1, description="sequence number of the event in its stream")
    index: int = Field(default=0, ge=0, description="frame within the event, from 0")

    def __str__(self) -> str:
        return f"{self.run_uid}/{self.stream}/{self.data_key}/{self.seq_num}/{self.index}"


class Hdf5Location(BaseModel):
    """One frame in a (possibly still growing) HDF5 dataset of shape (rows, *frame)."""

    model_config = ConfigDict(frozen=True)

    uri: str = Field(description="file URI as the documents gave it; checked before it is opened")
    dataset: str = Field(description="path of the dataset inside the file")
    row: int = Field(ge=0, description="row of the frame along the first axis")


class TiffLocation(BaseModel):
    """One frame in a TIFF file: a page of it."""

    model_config = ConfigDict(frozen=True)

    uri: str = Field(description="file URI, made of what the documents gave; checked before use")
    page: int = Field(ge=0, description="page of the file, from 0")


class NoLocation(BaseModel):
    """A frame that was taken, and of which the documents say nothing that leads to its pixels."""

    model_config = ConfigDict(frozen=True)

    missing: str = Field(description="what is missing, in a sentence")


class InlineLocation(BaseModel):
    """One frame that travelled inside its event; the array is held by the reference itself."""

    model_config = ConfigDict(frozen=True)


Location = Hdf5Location | TiffLocation | NoLocation | InlineLocation
"""Where the pixels of a frame are."""


@dataclass(frozen=True, slots=True)
class Declared:
    """What the documents say about a frame at the paths that the configuration declares.

    Attributes:
        values: 'wavelength' (Å), 'monitor', 'exposure' (s), 'temperature' (°C), where found.
        wavelength_place: the path at which the wavelength was found.
        flags: '..._missing' for what is declared and was not found.
        conflict: in a sentence (or several), which values contradict each other; '' when none do.
        dark_run: uid of the run whose frames are its darks; '' where none is named.
        background_run: uid of the run whose frames are its background; '' where none is named.
        said: of the quantities that contradict themselves: each path, and what stands there.
    """

    values: Mapping[str, float] = field(default_factory=dict[str, float])
    wavelength_place: str = ""
    flags: tuple[str, ...] = ()
    conflict: str = ""
    dark_run: str = ""
    background_run: str = ""
    said: Mapping[str, tuple[tuple[str, float | str], ...]] = field(
        default_factory=dict[str, tuple[tuple[str, float | str], ...]]
    )

    def as_readings(self) -> dict[str, float]:
        """Give the values as readings, each under a name that says its unit."""
        return {_READINGS[name]: value for name, value in self.values.items()}


_READINGS = {
    "wavelength": "wavelength_angstrom",
    "monitor": "declared_monitor",
    "exposure": "exposure_s",
    "temperature": "temperature_celsius",
}


@dataclass(frozen=True, slots=True)
class FrameReference:
    """Where a frame is, and what the documents said about the moment it was taken.

    Attributes:
        key: the frame's name.
        time: UTC epoch seconds of its event (or of the document that announced it).
        location: where the pixels are.
        shape: (height, width) as declared by the descriptor; (channels,) of a strip detector.
        dtype: numpy dtype string as declared, or None when the descriptor is silent.
        readings: the scalar numbers of the same event (monitor, temperature, ...), by data key.
        array: the pixels, for `InlineLocation` only.
        declared: what declared paths say about it.
        descriptor: uid of its event's descriptor, as long as the documents are at hand.
    """

    key: FrameKey
    time: float
    location: Location
    shape: tuple[int, ...]
    dtype: str | None = None
    readings: Mapping[str, float] = field(default_factory=dict[str, float])
    array: npt.NDArray[np.generic] | None = None
    declared: Declared = field(default_factory=Declared)
    descriptor: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame in hand: `image` has its reference's shape, in storage order, any real dtype."""

    reference: FrameReference
    image: npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class RunOpened:
    """A run has started. `metadata` is its start document, untouched."""

    run_uid: str
    time: float
    metadata: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class RunClosed:
    """A run has stopped.

    Attributes:
        run_uid: the run.
        time: UTC epoch seconds of the stop document.
        exit_status: 'success', 'abort' or 'fail'.
        reason: what the stop document gave as reason, often empty.
        expected: number of events per stream, as the stop document counts them.
        frames: number of frames that those events hold, per stream whose descriptor is known.
        assumed: whether no stop document said so, and what it would count is not known.
    """

    run_uid: str
    time: float
    exit_status: str
    reason: str
    expected: Mapping[str, int]
    frames: Mapping[str, int] = field(default_factory=dict[str, int])
    assumed: bool = False


Happening = RunOpened | FrameReference | RunClosed
