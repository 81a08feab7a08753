"""Settings of the reduction: which geometry, which mask, which corrections."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

Orientation = Literal["as_stored", "flip_rows", "flip_columns", "rotate_180"]
Splitting = Literal["no", "bbox", "full"]


DETECTION = 5.0
"""Standard deviations by which a frame must exceed its dark to hold scattering at all."""


class CountSettings(BaseModel):
    """What is done with the counts of any detector."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mask: Path | None = Field(
        default=None,
        description=(
            "image of the pixels to leave out (nonzero = masked), in the orientation of the "
            "stored frames: .npy, .tif, .tiff or .edf"
        ),
    )
    dark: Literal["stream", "none"] | Path = Field(
        default="stream",
        description=(
            "stream: subtract the mean of the run's dark frames, or of the run that "
            "`metadata.dark_run` names; none: subtract nothing; or the "
            "path of a dark image (.npy, .tif, .tiff, .edf) of the frames' exposure time"
        ),
    )
    dark_max_age_s: float | None = Field(
        default=14_400.0,
        gt=0,
        allow_inf_nan=False,
        description=(
            "frames taken so long after (or before) the latest of their dark frames are "
            "`dark_stale`, s; empty: never. See `set_aside`"
        ),
    )
    background: Literal["run", "none"] = Field(
        default="run",
        description=(
            "run: subtract what the run that `metadata.background_run` names scatters (nothing "
            "where none is declared: the model knows liquids); none: never"
        ),
    )
    background_scale: float = Field(
        default=1.0,
        gt=0,
        le=1000,
        allow_inf_nan=False,
        description=(
            "what the background is multiplied by; both are divided by their monitor before, where "
            "there is one, else they must have the same exposure time"
        ),
    )
    background_max_age_s: float | None = Field(
        default=86_400.0,
        gt=0,
        allow_inf_nan=False,
        description=(
            "frames taken so long after (or before) the latest frame of their background are "
            "flagged `background_stale`, s; empty: never"
        ),
    )
    hot_pixels: Literal["leave_out", "keep"] = Field(
        default="leave_out",
        description=(
            "leave_out: do without the pixels that stand far out of the dark image (by more than "
            "10 counts and 20 times its usual spread); keep: only subtract their dark"
        ),
    )
    monitor_key: str | None = Field(
        default=None,
        min_length=1,
        description="data key of the monitor whose reading divides the counts; empty: none",
    )
    set_aside: list[
        Literal["dark_missing", "dark_unannounced", "dark_stale", "monitor_missing", "off_centre"]
    ] = Field(
        default=["dark_missing", "dark_stale", "monitor_missing", "off_centre"],
        description=(
            "what makes a bad_frame with a reason, to be retried when it is mended; what is left "
            "out is a flag on the size only. dark_missing: documents told of a dark (dark frames "
            "of the run, or a dark run), and it cannot be had; dark_unannounced: no document told "
            "of one, where `dark` is stream; dark_stale: see `dark_max_age_s`; monitor_missing: "
            "the frame's event has readings, and none of the monitor (in a fly scan it has none); "
            "off_centre: opposite sides of the detector see the rings so far apart that the beam "
            "centre is off by more than 0.008 1/Å (from 0.003 on it is a flag)"
        ),
    )
    saturation: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="counts at or above this are saturated pixels and left out; empty: no limit",
    )
    max_saturated_fraction: float = Field(
        default=0.01,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="share of saturated pixels above which the whole frame is set aside",
    )
    max_invalid_fraction: float = Field(
        default=0.9,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description=(
            "share of unmasked pixels without a count (NaN, negative integer, the largest "
            "unsigned one) above which the whole frame is set aside"
        ),
    )
    resolution: float = Field(
        default=0.0,
        ge=0,
        le=0.05,
        allow_inf_nan=False,
        description=(
            "standard deviation in 1/Å by which pixels, beam and sample broaden a sharp line, as a "
            "calibrant shows it near 3 1/Å (a Gaussian's full width at half maximum over 2.355). "
            "Sizes are corrected for it; left at 0, a broad instrument makes large nanocrystals "
            "look small (0.01 1/Å: 2 % at 5 nm, 6 % at 8 nm)"
        ),
    )

    @field_validator("mask")
    @classmethod
    def _known_image_format(cls, path: Path | None) -> Path | None:
        if path is not None and path.suffix.lower() not in IMAGE_SUFFIXES:
            raise ValueError(f"a mask is a {', '.join(IMAGE_SUFFIXES)} file, not '{path.name}'")
        return path


class ReductionSettings(CountSettings):
    """How a detector frame becomes a pattern."""

    kind: Literal["image"] = Field(default="image", description="a detector with two axes")
    poni: Path = Field(description="geometry of the detector: a PONI file as pyFAI writes it")
    orientation: Orientation = Field(
        default="as_stored",
        description=(
            "what must be done to the stored image so that it matches the PONI: as_stored, "
            "flip_rows (upside down), flip_columns (left to right) or rotate_180"
        ),
    )
    wavelength: float | None = Field(
        default=None,
        gt=0,
        lt=100,
        allow_inf_nan=False,
        description=(
            "wavelength in Å; empty takes the PONI's. A value that differs from the PONI's by "
            "more than 0.1 % is refused"
        ),
    )
    solid_angle: bool = Field(
        default=True, description="correct for the solid angle under which each pixel is seen"
    )
    polarization_factor: float | None = Field(
        default=0.99,
        ge=-1,
        le=1,
        allow_inf_nan=False,
        description=(
            "polarization of the beam: 1 horizontal, -1 vertical, 0 unpolarized (laboratory "
            "tube); null: no correction"
        ),
    )
    q_points: int = Field(
        default=5004,
        ge=100,
        le=20000,
        description=(
            "bins of the integration over the published range Q = 0.99 to 15 1/Å; the default "
            "is the published grid itself, other numbers are resampled onto it"
        ),
    )
    pixel_splitting: Splitting = Field(
        default="no",
        description=(
            "no: each pixel counts in one bin, so the points are independent and peaks stay "
            "sharp; bbox or full: share it over the bins that it touches (smoother, neighbours "
            "correlated)"
        ),
    )


class StripSettings(CountSettings):
    """How the counts of a strip detector become a pattern; nothing is integrated."""

    kind: Literal["strip"] = Field(
        default="strip", description="a detector with one axis, or a pattern integrated already"
    )
    axis: Path = Field(
        description="2θ or Q of every channel: a .npy row, or a text file whose first column it is"
    )
    unit: Literal["2th_deg", "q_A^-1", "q_nm^-1"] = Field(
        default="2th_deg", description="what the axis is: 2θ in degrees, Q in 1/Å or in 1/nm"
    )
    wavelength: float | None = Field(
        default=None, gt=0, lt=100, allow_inf_nan=False, description="wavelength in Å; 2θ needs it"
    )
    counts: bool = Field(
        default=True,
        description="whether the values are counts, whose scatter is known (Poisson); false for "
        "patterns that were scaled or integrated before",
    )

    @model_validator(mode="after")
    def _two_theta_needs_a_wavelength(self) -> Self:
        if self.unit == "2th_deg" and self.wavelength is None:
            raise ValueError("an axis of 2θ needs a wavelength")
        return self


def _kind_of(value: object) -> str:
    """Tell which settings are meant; a detector of two axes need not say so."""
    if isinstance(value, BaseModel):
        return str(getattr(value, "kind", "image"))
    found = cast("dict[str, object]", value) if isinstance(value, dict) else {}
    return "strip" if found.get("kind", "strip" if "axis" in found else "") == "strip" else "image"


DetectorSettings = Annotated[
    Annotated[ReductionSettings, Tag("image")] | Annotated[StripSettings, Tag("strip")],
    Discriminator(_kind_of),
]
"""Settings of one detector, of either kind."""


IMAGE_SUFFIXES = (".npy", ".tif", ".tiff", ".edf")
"""Formats of mask and dark images."""
