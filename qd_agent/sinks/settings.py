"""Settings of the stores: where they are, how to get in, how much they keep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

RedisUrl = Annotated[str, StringConstraints(pattern=r"^(redis|rediss|unix)://.+")]
TiledUri = Annotated[str, StringConstraints(pattern=r"^https?://.+")]
EnvironmentName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
ContainerPath = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$")]


class RedisSettings(BaseModel):
    """Live predictions, for dashboards and feedback."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    url: RedisUrl | None = Field(
        default=None,
        repr=False,  # it may hold a password
        description="redis://host:port/db, rediss:// or unix://; without it the agent starts a "
        "Redis of its own under the data folder",
    )
    password_env: EnvironmentName | None = Field(
        default=None,
        description="environment variable that holds the password; the user, where there is one, "
        "is in the URL (redis://user@host)",
    )
    password_file: Path | None = Field(
        default=None, description="file whose first line is the password"
    )
    tls_ca_file: Path | None = Field(
        default=None,
        description="PEM file of the CA that vouches for a rediss:// server; without it those that "
        "the system trusts",
    )
    tls_certificate_file: Path | None = Field(
        default=None, description="PEM file of our own certificate, for a Redis that asks for one"
    )
    tls_key_file: Path | None = Field(
        default=None,
        description="PEM file of its private key, without a passphrase; not needed where the key "
        "is in the certificate's file",
    )
    prefix: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")] = Field(
        default="qd", description="first part of every key"
    )
    max_patterns_per_run: int = Field(
        default=2000, ge=0, description="newest patterns kept of each run (about 40 kB each)"
    )
    patterns_keep_hours: float = Field(
        default=72.0, gt=0, description="a run's patterns go this long after its last frame"
    )
    max_predictions: int = Field(
        default=200_000,
        ge=1,
        description="newest predictions kept in the stream of all runs; each run's own keeps all",
    )
    heartbeat_expiry_s: int = Field(
        default=15, ge=2, description="an agent not heard of for so long counts as gone"
    )


class TiledSettings(BaseModel):
    """Predictions to keep and to search, next to the raw data."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    uri: TiledUri | None = Field(
        default=None,
        repr=False,  # it may hold an API key
        description="http://host:port/api/v1; without it the agent starts a Tiled server of its "
        "own under the data folder",
    )
    api_key_env: EnvironmentName = Field(
        default="TILED_API_KEY", description="environment variable that holds the API key"
    )
    api_key_file: Path | None = Field(
        default=None, description="file whose first line is the API key"
    )
    tls_ca_file: Path | None = Field(
        default=None,
        description="PEM file of the CA that vouches for a https:// server; without it those that "
        "the system trusts",
    )
    tls_certificate_file: Path | None = Field(
        default=None, description="PEM file of our own certificate, for a Tiled that asks for one"
    )
    tls_key_file: Path | None = Field(
        default=None,
        description="PEM file of its private key, without a passphrase; not needed where the key "
        "is in the certificate's file",
    )
    container: ContainerPath = Field(
        default="qd_agent", description="where a container for each run is made"
    )
    raw_container: ContainerPath | None = Field(
        default="raw", description="where the raw runs are; null when they are at the root"
    )
    batch_seconds: float = Field(
        default=1.0, ge=0, le=60, description="wait between two writes; one write costs about 0.1 s"
    )
    batch_rows: int = Field(default=200, ge=1, le=5000, description="most predictions in one write")
