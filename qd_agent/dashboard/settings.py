"""Settings of the dashboard: where it listens, who may look, what it shows by default."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from qd_agent.dashboard.records import Thermometer

PathPrefix = Annotated[str, StringConstraints(pattern=r"^(/[A-Za-z0-9_.~-]+)*$")]


class DashboardSettings(BaseModel):
    """The live page; `qd-agent dashboard` serves it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="address to listen at; anything but loopback needs a token",
    )
    port: int = Field(default=8060, ge=0, le=65535, description="0: any free one")
    token_file: Path | None = Field(
        default=None,
        description="file whose first line is the token that viewers need; without it one is made "
        "at the start, and printed, where one is needed",
    )
    prefix: PathPrefix = Field(
        default="", description="path below which a reverse proxy shows the page, such as /qd"
    )
    allowed_hosts: tuple[str, ...] = Field(
        default=(),
        description="names under which a reverse proxy shows the page; a token is needed then",
    )
    target_nm: float | None = Field(
        default=None, gt=0, le=100, description="wanted diameter, nm; a viewer may set another"
    )
    temperature_key: str | None = Field(
        default=None,
        description="reading shown as temperature; without it what `metadata.temperature` "
        "declares, else the first whose name holds 'temp'",
    )
    temperature_unit: str = Field(
        default="",
        max_length=12,
        description="unit of that reading, such as K; what `metadata.temperature` declares is "
        "shown in °C, and of any other the page says that its unit is not stated",
    )

    @property
    def thermometer(self) -> Thermometer:
        """Which reading is the temperature, and in which unit."""
        return Thermometer(self.temperature_key, self.temperature_unit)
