"""What a campaign does, drawn from a seed: scenes, each one life of the agent."""

from __future__ import annotations

import random
import signal
from dataclasses import dataclass

from tests.helpers.chaos_agent import POINTS

FULL = ("fsize:1048576", "pages:2")
"""The two ways in which the ledger's disk is made full."""
STORE_FAULTS = (
    "Redis stopped and started",
    "Redis killed and started",
    "Redis came back empty",
    "Redis emptied while up (FLUSHALL)",
    "Redis hangs",
    "Redis cut off",
    "Tiled stopped and started",
    "Tiled killed and started",
    "Tiled hangs",
    "Tiled cut off",
)
LOST_ANSWERS = ("answer of Redis lost", "answer of Tiled lost")
"""These need an agent that lives until it has happened."""


@dataclass(frozen=True)
class Scene:
    """One life of the agent, from its start to its end.

    Attributes:
        name: how it ends.
        chaos: what QD_CHAOS asks for; it then ends by itself.
        signals: what ends it otherwise, once `answers` more frames have been answered.
        answers: see there.
        store: what happens to a store meanwhile, or ''.
        unheard: frames that are taken before it starts, of which it hears nothing.
    """

    name: str
    chaos: str = ""
    signals: tuple[signal.Signals, ...] = ()
    answers: int = 0
    store: str = ""
    unheard: int = 0


def draw(rng: random.Random) -> list[Scene]:
    """Draw one round: every point once, every fault of a store once, a full disk in two ways."""
    faults = list(STORE_FAULTS)
    rng.shuffle(faults)
    ends = [(f"agent killed: {p}", f"{p}:{_passage(p, rng)}") for p in POINTS]
    ends += [(f"ledger's disk full ({how.partition(':')[0]})", how) for how in FULL]
    rng.shuffle(ends)
    scenes = [
        Scene(name, chaos, store=faults.pop() if i % 2 and faults else "", unheard=_gap(i, rng))
        for i, (name, chaos) in enumerate(ends)
    ]
    term = signal.SIGTERM
    lives = [
        ("agent killed at a random moment", (signal.SIGKILL,), LOST_ANSWERS[0]),
        ("agent ended by SIGTERM", (term,), LOST_ANSWERS[1]),
        ("agent ended by SIGTERM, twice", (term, term), faults.pop() if faults else ""),
    ]
    for name, signals, store in lives:
        scene = Scene(name, "", signals, answers=rng.randint(5, 25), store=store)
        scenes.insert(rng.randint(0, len(scenes)), scene)
    return scenes


def _gap(number: int, rng: random.Random) -> int:
    """Whole runs are taken while no agent is there, twice in a round; else a few frames."""
    return rng.randint(80, 110) if number % 8 == 4 else rng.randint(0, 8)


def _passage(point: str, rng: random.Random) -> int:
    if point in ONCE:
        return 1
    return rng.randint(1, 3) if point.startswith("Tiled") else rng.randint(1, 12)


ONCE = (
    "run closed in the books",
    "taking up what was left",
    "catalog read, not remembered",
    "told by Tiled, not concluded",
)
"""Points that a life passes seldom."""
