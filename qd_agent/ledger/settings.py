"""Settings of the ledger: how long, and how much, it keeps, and how it is compared with Tiled."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field

EARLIER_S = 3600.0
"""A run that began so long before the agent's first start may still be going on."""


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


class ReconcileSettings(BaseModel):
    """How runs are found in Tiled that no document announced, or not wholly."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    find_every_s: float = Field(
        default=60.0,
        ge=1.0,
        description="the catalog of raw runs (tiled.raw_container) is asked so often for runs of "
        "which no document came, s",
    )
    find_since: datetime | None = Field(
        default=None,
        description="runs that started before this are not looked for, such as "
        "2026-11-26T08:00:00Z; without it, an hour before the agent's first start",
    )
    find_days: float = Field(
        default=30.0,
        gt=0.0,
        description="nor are those that started longer ago than this, days",
    )
    look_first_s: float = Field(
        default=5.0,
        ge=0.1,
        description="wait before an incomplete run is looked up in Tiled a second time, s; then "
        "twice as long each time",
    )
    look_longest_s: float = Field(
        default=3600.0, ge=1.0, description="longest of these waits, s; each varies by a quarter"
    )
    look_hours: float = Field(
        default=72.0,
        gt=0.0,
        description="an incomplete run is given up after so long, hours; the next start of the "
        "agent, and `qd-agent reconcile`, look it up once more",
    )

    def since(self, first_start: float, now: float) -> float:
        """Give the earliest start of a run that is looked for.

        Args:
            first_start: UTC epoch s at which the books were begun.
            now: UTC epoch s.
        """
        if self.find_since is None:
            earliest = first_start - EARLIER_S
        elif self.find_since.tzinfo is None:
            earliest = self.find_since.replace(tzinfo=UTC).timestamp()
        else:
            earliest = self.find_since.timestamp()
        return max(earliest, now - 86400.0 * self.find_days)
