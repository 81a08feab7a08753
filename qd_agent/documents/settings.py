"""Settings of the documents: which transport, and which frames are of interest."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

MEBIBYTE = 1 << 20


class ZmqSettings(BaseModel):
    """Documents from ZMQ, as bluesky's Publisher and Proxy send them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["zmq"] = Field(default="zmq", description="the transport; this one when left out")
    address: str = Field(
        default="tcp://127.0.0.1:5578",
        min_length=1,
        description="endpoint to connect to: the outgoing side of the bluesky proxy",
    )
    prefix: str = Field(
        default="",
        pattern=r"^[^ ]*$",
        description="take documents with this prefix only; empty takes every prefix; no spaces",
    )
    max_document_bytes: int = Field(
        default=64 * MEBIBYTE, ge=1024, description="larger documents are refused, bytes"
    )
    receive_high_water_mark: int = Field(
        default=10_000,
        ge=1,
        description="documents that the socket holds for us before it drops newer ones",
    )
    curve_server_key: Path | None = Field(
        default=None,
        description="file with the publisher's (or proxy's) public key, as `qd-agent keys` makes "
        "it: documents are taken from who holds its secret half only, and travel encrypted (CURVE)",
    )
    curve_secret_key: Path | None = Field(
        default=None,
        description="file with the agent's own key pair for CURVE, readable by its owner alone; "
        "the publisher must know its public half",
    )

    @model_validator(mode="after")
    def _both_keys_or_none(self) -> Self:
        if (self.curve_server_key is None) != (self.curve_secret_key is None):
            raise ValueError(
                "CURVE needs both curve_server_key and curve_secret_key; `qd-agent keys DIR` makes "
                "them"
            )
        return self

    @property
    def shown(self) -> str:
        """Where documents come from, in a few words."""
        return self.address


SourceSettings: TypeAlias = ZmqSettings
"""Settings of one source of documents."""


class RouterSettings(BaseModel):
    """Which streams and data keys hold frames to be sized, and how much may be held back."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    streams: list[str] = Field(
        default=["primary"], min_length=1, description="event streams whose frames are sized"
    )
    dark_streams: list[str] = Field(
        default=["dark"], description="event streams whose frames are dark frames"
    )
    data_keys: list[str] | None = Field(
        default=None,
        description="data keys of the detectors; none given means every key that declares a "
        "two-dimensional array, inside the event or in a file",
    )
    strips: list[str] = Field(
        default=[],
        description="data keys of detectors with one axis (strips, or images integrated already); "
        "those that `detectors` describes as such need not be named here",
    )

    max_open_runs: int = Field(
        default=64,
        ge=1,
        description="runs followed at once; beyond it the one silent for longest is closed",
    )
    max_waiting_frames: int = Field(
        default=100_000,
        ge=1,
        description="frames held back until their event comes; beyond it the oldest go on "
        "without readings; also the largest number of frames that one document may announce",
    )

    quiet_s: float = Field(
        default=60.0,
        ge=1.0,
        description="an open run whose files have not grown for so long is looked into: frames in "
        "them that nobody announced are taken, and none waits for its event any longer, s",
    )

    @model_validator(mode="after")
    def _streams_are_one_or_the_other(self) -> Self:
        both = set(self.streams) & set(self.dark_streams)
        if both:
            raise ValueError(f"{sorted(both)} cannot be both in streams and in dark_streams")
        return self
