"""Settings of the frames: what may be read, from where, and how long to wait for it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
        default=10.0,
        ge=0.0,
        le=3600.0,
        description="longest wait for a frame to be readable, s; then it is put off, and others "
        "go first",
    )
    retry_delays_s: list[Annotated[float, Field(ge=0.0, le=3600.0)]] = Field(
        default=[1.0, 5.0, 15.0, 30.0, 60.0],
        min_length=1,
        description="waits between the tries of a frame that was put off, s; the last one repeats",
    )
    tries_after_stop: int = Field(
        default=8,
        ge=1,
        description="tries of such a frame after its run has stopped; then it is set aside. While "
        "the run is open there is no limit",
    )
    storage_patience_s: float = Field(
        default=120.0,
        ge=0.0,
        le=86_400.0,
        description="how long one of `allowed_roots` may be away (unmounted, not to be entered) "
        "while frames wait that lie there, s; then the agent stops, and no frame is set aside for "
        "it",
    )
    max_pixels: int = Field(
        default=64_000_000, ge=1, description="frames with more pixels are refused unread"
    )
    max_chunk_bytes: int = Field(
        default=1 << 30,
        ge=1,
        description="most bytes that a chunk of a file may be once it is decompressed; larger "
        "ones, and chunks that would become larger than they declare, are refused unread",
    )
    through_tiled: bool = Field(
        default=True,
        description="ask Tiled for the pixels of frames whose files cannot be reached from here, "
        "once their run has stopped",
    )
    swmr: bool = Field(
        default=True,
        description="read HDF5 while it is written (single writer, multiple readers)",
    )
