"""Settings of the ledger: how long, and how much, it keeps."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class LedgerSettings(BaseModel):
    """What the ledger keeps of runs whose every prediction has been delivered."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keep_days: float = Field(
        default=180.0,
        gt=0.0,
        description="runs that have stopped and are delivered go this long after their start, "
        "days; until then they can be delivered again",
    )
    keep_gib: float = Field(
        default=4.0,
        gt=0.0,
        description="beyond this size the oldest of such runs go earlier, GiB (a frame is about "
        "3 kB)",
    )
