"""The names of everything that the agent keeps in Redis."""

from __future__ import annotations

from dataclasses import dataclass

from qd_agent.sinks.connections import safe_key


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys under one prefix.

    Attributes:
        prefix: first part of every key.
    """

    prefix: str = "qd"

    @property
    def predictions(self) -> str:
        """Stream of the predictions of all runs; JSON in field `prediction`."""
        return f"{self.prefix}:predictions"

    @property
    def runs(self) -> str:
        """Sorted set of run uids by start time, UTC epoch s."""
        return f"{self.prefix}:runs"

    @property
    def latest(self) -> str:
        """Hash: the newest frame that has a prediction."""
        return f"{self.prefix}:latest"

    def run(self, uid: str) -> str:
        """Hash of one run: metadata, counts, state."""
        return f"{self.prefix}:run:{safe_key(uid)}"

    def run_predictions(self, uid: str) -> str:
        """Stream of one run's predictions."""
        return f"{self.run(uid)}:predictions"

    def run_patterns(self, uid: str) -> str:
        """Stream of one run's newest patterns, float32, little-endian."""
        return f"{self.run(uid)}:patterns"

    def run_published(self, uid: str) -> str:
        """Set of what has been published in one run, by which repeats are recognised."""
        return f"{self.run(uid)}:published"

    def run_set_aside(self, uid: str) -> str:
        """Hash of one run's set-aside frames: where their entries are, should they be replaced."""
        return f"{self.run(uid)}:set_aside"

    def agent(self, agent_id: str) -> str:
        """Hash with expiry: an agent's heartbeat."""
        return f"{self.prefix}:agent:{agent_id}"
