"""Real servers that the agent starts on loopback when it is given no URL.

Each gets a random secret and a folder that its owner alone can read, keeps its data there from one
start to the next, and ends with the process that started it, even if that is killed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qd_agent.embedded.server import Endpoint, RunningServer, find_server, write_private

__all__ = [
    "Endpoint",
    "RunningServer",
    "find_server",
    "start_redis",
    "start_tiled",
    "write_private",
]


def start_redis(folder: Path) -> RunningServer:
    """Start Redis with its data in `folder`. Raises Fatal; see `embedded.redis`."""
    from qd_agent.embedded.redis import start_redis as start  # noqa: PLC0415 - keep the door light

    return start(folder)


def start_tiled(folder: Path, readable: Sequence[Path] = ()) -> RunningServer:
    """Start Tiled with its catalog in `folder`. Raises Fatal; see `embedded.tiled`.

    `readable` are the folders whose files (a detector's HDF5) may be registered and read.
    """
    from qd_agent.embedded.tiled import start_tiled as start  # noqa: PLC0415 - keep the door light

    return start(folder, readable)
