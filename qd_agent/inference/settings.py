"""Settings of the sizer."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class SizerSettings(BaseModel):
    """Which model answers, and how many cores it may use."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Path | None = Field(
        default=None,
        description="folder of a model made by `qd-train build`; the shipped one when not given",
    )
    threads: int = Field(
        default=1, ge=1, le=64, description="cores the network may use; one sizes 100 patterns/s"
    )
