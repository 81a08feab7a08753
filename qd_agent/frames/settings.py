"""Settings of the frames: what may be read, from where, and how long to wait for it."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class FrameSettings(BaseModel):
    """What the frame reader may open, and its limits."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    allowed_roots: list[Path] = Field(
        default=[],
        description="folders under which detector files may be read; none given means that no "
        "file may be read",
    )
    path_map: dict[str, str] = Field(
        default={},
        description="path prefix in the documents -> path prefix on this machine, whole folder "
        "names; the longest prefix wins",
    )
    deadline_s: float = Field(
        default=10.0, ge=0.0, le=3600.0, description="longest wait for a frame to be readable, s"
    )
    max_pixels: int = Field(
        default=64_000_000, ge=1, description="frames with more pixels are refused unread"
    )
    swmr: bool = Field(
        default=True,
        description="read HDF5 while it is written (single writer, multiple readers)",
    )
