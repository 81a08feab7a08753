"""What the agent says about one frame: the only thing that leaves it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from qd_agent.core.frame import FrameKey
from qd_agent.core.pattern import Pattern

SCHEMA_VERSION = 1


class Verdict(StrEnum):
    """Whether a size is given, and if not, why."""

    SIZED = "sized"
    NO_NANOCRYSTALS = "no_nanocrystals"
    OUT_OF_DOMAIN = "out_of_domain"
    INSUFFICIENT_Q = "insufficient_q"
    BAD_FRAME = "bad_frame"


class Estimate(BaseModel):
    """What sizing says about one pattern, before it is tied to a frame.

    A size is given with verdict `sized` only; every other verdict carries a reason in words.
    """

    # NaN would turn into null in JSON and could not be read back.
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    verdict: Verdict
    reason: str = Field(default="", description="why no size is given, in a sentence")
    diameter_nm: float | None = Field(default=None, description="number-average diameter, nm")
    diameter_sd_nm: float | None = Field(default=None, description="standard deviation of it, nm")
    interval_nm: tuple[float, float] | None = Field(default=None, description="calibrated 90 %, nm")
    diameter_volume_nm: float | None = Field(default=None, description="volume-weighted, nm")
    interval_volume_nm: tuple[float, float] | None = Field(default=None, description="90 %, nm")
    dispersion: float | None = Field(default=None, description="relative sd of the lognormal")
    nanocrystal_fraction: float | None = Field(
        default=None, description="nanocrystals' share of the scattered area, 0 to 1"
    )
    class_nm: float | None = Field(default=None, description="most probable 0.5 nm class, nm")
    class_probabilities: tuple[float, ...] = Field(
        default=(),
        description="of the 17 published classes 2.0, 2.5 ... 10.0 nm; what simulations lack is "
        "in them as it is in interval_nm",
    )
    misfit: float | None = Field(
        default=None, description="relative residual (Rwp-like) of the explaining Debye pattern"
    )
    flags: tuple[str, ...] = ()
    quality: dict[str, float] = Field(
        default_factory=dict,
        description="what a user may judge the frame by, as far as it is known: domain_score "
        "(probability that these are PbS nanocrystals, by the network), dark_age_s and "
        "background_age_s (time between the frame and the latest of those, s), saturated_share "
        "(of the pixels used), monitor (its reading), q_min and q_max (1/Å), q_coverage (share of "
        "the points between them that were measured), centre_shift and centre_shift_error (of the "
        "beam centre against the PONI, as opposite sectors show it, and its standard error, 1/Å)",
    )

    @model_validator(mode="after")
    def _size_only_when_sized(self) -> Self:
        sizes = (self.diameter_nm, self.diameter_sd_nm, self.interval_nm, self.class_nm)
        if self.verdict is Verdict.SIZED:
            if any(value is None for value in sizes):
                raise ValueError("a sized estimate carries diameter, sd, interval and class")
            if self.interval_nm is not None and self.interval_nm[0] > self.interval_nm[1]:
                raise ValueError("the interval goes from low to high")
        elif any(value is not None for value in (*sizes, self.diameter_volume_nm)):
            raise ValueError(f"verdict {self.verdict} must not carry a size")
        elif not self.reason:
            raise ValueError(f"verdict {self.verdict} needs a reason")
        return self


class Provenance(BaseModel):
    """What made this number; enough to make it again."""

    model_config = ConfigDict(frozen=True)

    model_name: str
    model_version: str
    model_sha256: str
    config_hash: str
    poni_sha256: str = ""
    mask_sha256: str = ""
    dark_hash: str = Field(default="", description="hash of the dark image that was subtracted")
    background_hash: str = Field(
        default="", description="hash of the background pattern that was subtracted"
    )
    package_version: str


class Prediction(Estimate):
    """An estimate, tied to its frame and to what made it."""

    schema_version: int = SCHEMA_VERSION
    key: FrameKey
    revision: int = Field(
        default=0,
        ge=0,
        description="how often a set-aside frame was tried anew; it replaces what was said before",
    )
    frame_time: float = Field(description="UTC epoch s of the frame's event")
    publication_time: float = Field(description="UTC epoch s at which the agent had the answer")
    readings: dict[str, float] = Field(
        default_factory=dict,
        description="finite scalar readings of the same event (temperature, ...)",
    )
    provenance: Provenance
    latency_ms: dict[str, float] = Field(
        default_factory=dict, description="read, reduce, size: time spent in each stage"
    )

    @field_validator("readings", mode="before")
    @classmethod
    def _only_finite(cls, readings: Mapping[str, object]) -> dict[str, object]:
        """Leave out NaN and infinities, which JSON cannot carry: they mean that nothing was read.

        A broken thermometer must not cost the frame its prediction.
        """
        return {
            key: value
            for key, value in readings.items()
            if not isinstance(value, float) or math.isfinite(value)
        }


@dataclass(frozen=True, slots=True)
class StoredFrame:
    """What a store knows a prediction by: the frame within its run, the model, the revision."""

    stream: str
    data_key: str
    seq_num: int
    index: int
    model_version: str
    model_sha256: str
    revision: int = 0

    @classmethod
    def of(cls, prediction: Prediction) -> StoredFrame:
        """Give the name of a prediction."""
        key, made_by = prediction.key, prediction.provenance
        return cls(
            key.stream,
            key.data_key,
            key.seq_num,
            key.index,
            made_by.model_version,
            made_by.model_sha256,
            prediction.revision,
        )


@dataclass(frozen=True, slots=True)
class Explanation:
    """The Debye pattern that explains a measured one, on the same grid and in the same unit.

    Attributes:
        model: shape (size,), nanocrystals plus background.
        background: shape (size,), the background alone.
    """

    model: npt.NDArray[np.float64]
    background: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sized:
    """A sizer's whole answer to one pattern; `explanation` is None where none was possible."""

    estimate: Estimate
    pattern: Pattern
    explanation: Explanation | None = None
