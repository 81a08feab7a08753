"""A beamline on one machine: synthesis, RunEngine, agent, stores, and the books at the end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What `qd-agent demo` was asked for.

    Attributes:
        frames: frames of the synthesis.
        rate: frames a second.
        headless: plain lines instead of a live table.
        json_file: where the summary goes, or None.
        keep: leave agent and servers running until Ctrl-C.
        output: folder for everything, or None for a temporary one that stays for a look.
        seed: of the simulated synthesis.
        dashboard: show the live page meanwhile.
    """

    frames: int = 60
    rate: float = 2.0
    headless: bool = False
    json_file: Path | None = None
    keep: bool = False
    output: Path | None = None
    seed: int = 1
    dashboard: bool = True


def run_demo(options: DemoOptions) -> bool:
    """Run the demo; True when every frame is accounted for, once, in Redis and in Tiled."""
    from qd_agent.demo.run import run  # noqa: PLC0415 - `--help` needs none of it

    return run(options)
