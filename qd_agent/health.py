"""What the agent says of itself: the heartbeat that `qd-agent status` shows."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from qd_agent import __version__
from qd_agent.ledger import Ledger


@runtime_checkable
class Pulsing(Protocol):
    """A sink that also shows the agent's health."""

    def heartbeat(self, fields: Mapping[str, str | int | float | None]) -> None:
        """Report; raises Unavailable while the store is away."""
        ...


@dataclass(slots=True)
class Health:
    """What the heartbeat says of the daemon.

    Attributes:
        agent_id: name of the agent.
        source: where documents come from; several, separated by commas.
        model: name, version and hash.
        started: UTC epoch s.
        last_frame: time of the newest frame answered, UTC epoch s.
        state: 'starting', 'running' or 'stopping'.
        source_state: 'connected', 'connecting', or why the source lets us have nothing.
        refused: messages that were no document.
        turned: `time.monotonic()` of the path's last turn; 0 before the first.
    """

    agent_id: str
    source: str
    model: str
    started: float = field(default_factory=time.time)
    last_frame: float | None = None
    state: str = "starting"
    source_state: str = "connecting"
    refused: int = 0
    turned: float = 0.0

    def hear(self, sources: Mapping[str, tuple[str, int]]) -> None:
        """Take in the state of each source, by its name, and its number of refused messages."""
        if not sources:
            return
        states = {name: state for name, (state, _) in sources.items()}
        different = set(states.values())
        self.source_state = (
            different.pop()
            if len(different) == 1
            else ", ".join(f"{name} {state}" for name, state in states.items())
        )
        self.refused = sum(refused for _, refused in sources.values())

    def fields(
        self, ledger: Ledger, sinks: Mapping[str, str], queued: int
    ) -> dict[str, str | int | float]:
        """Give the heartbeat's fields, all of them plain text or numbers.

        Of the `open` frames, `away` cannot be read now and are tried again; `behind_s` is how long
        ago the oldest of the others was seen. `lag_SINK_s` is how long ago the first of the
        predictions was made that a sink has not been given.

        Args:
            ledger: the books.
            sinks: state of each sink ('connecting', 'up', 'down', 'failed'), by its name.
            queued: documents that wait for the path.
        """
        account = ledger.account()
        _, away, behind = ledger.waiting()
        fields: dict[str, str | int | float] = {
            "agent_id": self.agent_id,
            "state": self.state,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "version": __version__,
            "model": self.model,
            "source": self.source,
            "source_state": self.source_state,
            "refused": self.refused,
            "started": self.started,
            "time": time.time(),
            "last_frame": self.last_frame or "",
            "queued_documents": queued,
            **account.as_counts(),
            "away": away,
            "behind_s": round(behind, 1),
        }
        for name, state in sinks.items():
            fields[f"sink_{name}"] = state
            fields[f"backlog_{name}"] = ledger.backlog(name)
            fields[f"lag_{name}_s"] = round(ledger.lag(name), 1)
        return fields
