"""A run as Tiled tells it, taken into the books, and followed from there on while it is open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from qd_agent.agent import Agent, DocumentRouter
from qd_agent.core.errors import BadFrame
from qd_agent.core.frame import FrameReference, Happening, RunClosed
from qd_agent.core.ports import Document

_log = structlog.get_logger(__name__)


class Following(DocumentRouter, Protocol):
    """A router that can be asked what it follows."""

    strangers: int

    def open_runs(self) -> tuple[str, ...]:
        """Give the uids of the open runs."""
        ...

    def follows(self, run_uid: str) -> bool:
        """Tell whether a run is open and has declared frames."""
        ...


@dataclass(frozen=True, slots=True)
class Told:
    """What Tiled told of a run.

    Attributes:
        text: why the books are not whole yet, as far as that lies with Tiled; '' when it told all.
        frames: sample frames that were new.
        away: whether Tiled could not be asked.
        absent: whether it does not have the run.
        nothing_of_ours: whether the run has ended without a frame that is to be sized.
    """

    text: str
    frames: int = 0
    away: bool = False
    absent: bool = False
    nothing_of_ours: bool = False


def retell(documents: Sequence[Document], agent: Agent, live: Following, fresh: Following) -> Told:
    """Take a run in as Tiled tells it.

    Args:
        documents: the run's, in order, the stop (if there is one) last.
        agent: writes down what is new.
        live: the agent's router, which goes on with an open run that it had not heard of.
        fresh: a router that knows nothing.
    """
    run_uid = str(documents[0][1]["uid"])
    happenings = happenings_of(fresh, documents)
    name, stop = documents[-1]
    if name == "stop":
        if agent.knows(run_uid) or _is_ours(happenings):
            frames = agent.take(happenings)
            if run_uid in live.open_runs():
                agent.note(name, stop)
            return Told("", frames)
        return Told("", nothing_of_ours=True)
    text = "Tiled has no stop document either"
    if not fresh.follows(run_uid):
        return Told(text)
    frames = agent.take(happenings)
    if not live.follows(run_uid):
        # Its next documents may come to us: now they mean something. Where its files are is left
        # to the documents themselves, since Tiled may call one file by another name.
        agent.note_all([d for d in documents if d[0] in ("start", "descriptor")])
    return Told(text, frames)


def _is_ours(happenings: Sequence[Happening]) -> bool:
    """Tell whether there is a frame in it, or should be one."""
    return any(
        isinstance(h, FrameReference) or (isinstance(h, RunClosed) and any(h.frames.values()))
        for h in happenings
    )


def happenings_of(router: DocumentRouter, documents: Sequence[Document]) -> list[Happening]:
    """Give what documents from Tiled make known to a router; what it refuses is logged."""
    found: list[Happening] = []
    for name, doc in documents:
        try:
            found += router.route(name, doc)
        except BadFrame as error:
            _log.warning("document from Tiled refused", document=name, reason=str(error))
    return found
