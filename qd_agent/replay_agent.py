"""The agent of a replay: the path of live frames, with nobody to wait for and an archive to ask."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from qd_agent.agent import Agent
from qd_agent.archivist import Answer
from qd_agent.config import Config
from qd_agent.core.errors import QdError
from qd_agent.documents import open_router
from qd_agent.ledger import Ledger
from qd_agent.sinks.raw_archive import RawArchive
from qd_agent.workshop import Workshop, finder_of, open_workshop, patience_of


class Archive(Protocol):
    """Gives the documents of runs. One thread at a time may use it."""

    def run(self, run_uid: str) -> Answer:
        """Give a run's documents; None: it does not have the run. Raises QdError."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


ArchiveOpener = Callable[[], Archive]
"""Opens a connection of one's own; it can be sent to another process."""


@dataclass(frozen=True, slots=True)
class Bench:
    """Where the frames of a replay are answered.

    Attributes:
        workshop: reader, reducer and sizer.
        archive: has dark and background runs, and frames whose files cannot be reached.
    """

    workshop: Workshop
    archive: Archive | None

    def agent(
        self, config: Config, ledger: Ledger, stopping: Callable[[], bool] = lambda: False
    ) -> Agent:
        """Give an agent that works there.

        Args:
            config: as for live frames.
            ledger: the books.
            stopping: asked whether the process is to end.
        """
        return Agent(
            open_router(config.routing(), config.metadata, live=False),
            self.workshop.stages,
            ledger,
            provenance=self.workshop.provenance,
            streams=frozenset(config.router.streams),
            dark_streams=frozenset(config.router.dark_streams),
            patience=patience_of(config.frames),
            newest_first=False,
            stopping=stopping,
            finder=None
            if self.archive is None
            else finder_of(config, partial(_look, self.archive)),
        )


def open_bench(
    config: Config,
    stack: ExitStack,
    archive: ArchiveOpener | None,
    stopping: Callable[[], bool] = lambda: False,
) -> Bench:
    """Open reader, reducer, sizer and archive; `stack` closes them.

    Args:
        config: as for live frames.
        stack: closes what is opened here.
        archive: opens the archive.
        stopping: asked while a frame is waited for.

    Raises:
        Fatal: something that the configuration names cannot be opened.
    """
    opened = None if archive is None else archive()
    if opened is not None and not isinstance(opened, RawArchive):  # else the workshop closes it
        stack.callback(opened.close)
    tiled = opened if isinstance(opened, RawArchive) else None
    return Bench(open_workshop(config, stack, stopping, tiled), opened)


def _look(archive: Archive, run_uid: str) -> Future[Answer]:
    """Ask for a run at once: a replay has nothing else to do, and one client for all."""
    future: Future[Answer] = Future()
    try:
        future.set_result(archive.run(run_uid))
    except QdError as error:
        future.set_exception(error)
    return future
