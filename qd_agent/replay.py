"""Runs of the past, sized by the same path as live ones: from Tiled, databroker or a recording.

A replay keeps books of its own, so that one that was stopped goes on where it was, and a running
agent is not touched.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from qd_agent.agent import Agent
from qd_agent.archivist import Answer
from qd_agent.config import SINKS, Config
from qd_agent.core.errors import QdError, Unavailable
from qd_agent.core.ports import Document
from qd_agent.core.prediction import Prediction
from qd_agent.courier import FLUSH_S, Courier
from qd_agent.daemon_lock import alone_in
from qd_agent.documents import open_router
from qd_agent.ledger import Books, Ledger
from qd_agent.sinks import RedisConnection, TiledConnection, open_sink
from qd_agent.sinks.raw_archive import RawArchive
from qd_agent.workshop import Workshop, finder_of, open_workshop, patience_of

POLL_S = 0.05
PATIENCE_S = 60.0
"""Longest time in which a store takes nothing while predictions wait for it."""


@dataclass(frozen=True, slots=True)
class Stores:
    """Where predictions are published."""

    redis: RedisConnection
    tiled: TiledConnection


class Replay:
    """Sizes runs of the past. Use it from one thread.

    Its books are of one model, configuration and calibration: when any of these has changed, runs
    are sized anew.

    Args:
        config: as for live frames.
        stack: closes what is opened here.
        stores: where predictions go; None keeps them in the books alone.
        tiled: for frames that are there alone, or whose files cannot be reached; closed with it.

    Raises:
        Fatal: another replay is at work there, or something cannot be opened.
    """

    def __init__(
        self,
        config: Config,
        stack: ExitStack,
        stores: Stores | None = None,
        tiled: RawArchive | None = None,
    ) -> None:
        folder = config.data / "replay"
        stack.enter_context(alone_in(folder))
        workshop = open_workshop(config, stack, tiled=tiled)
        sinks = () if stores is None else SINKS
        path = _books_of(folder, workshop, published=stores is not None)
        others = [other for other in folder.glob(_like(path)) if other != path]
        self._published_before = frozenset(uid for other in others for uid in _run_uids(other))
        self._ledger = Ledger(path, workshop.model, sinks)
        stack.callback(self._ledger.close)
        self._couriers = {} if stores is None else self._sent_out(config, stores, workshop)
        for courier in self._couriers.values():
            courier.start()
            stack.callback(courier.join, 2 * FLUSH_S)  # it still uses the books
            stack.callback(courier.stop)
        self._agent = Agent(
            open_router(config.routing(), config.metadata, live=False),
            workshop.stages,
            self._ledger,
            provenance=workshop.provenance,
            streams=frozenset(config.router.streams),
            dark_streams=frozenset(config.router.dark_streams),
            patience=patience_of(config.frames),
            newest_first=False,
            finder=None if tiled is None else finder_of(config, partial(_look, tiled)),
        )
        self._agent.recover()

    def is_published_otherwise(self, run_uid: str) -> bool:
        """Tell whether a run was published by this model with another configuration.

        Stores know a frame's answer by the model, and would keep the first one without a word.
        """
        return run_uid in self._published_before

    def is_done(self, run_uid: str) -> bool:
        """Tell whether an earlier replay has answered all frames of a run."""
        return any(
            record.whole and record.account.open == 0 and record.account.seen > 0
            for record in self._ledger.runs(run_uid)
        )

    def take(self, documents: Iterable[Document], on_frame: Callable[[], None]) -> None:
        """Size the frames of some documents, one run or several.

        Darks are known before the first light frame is answered, as in a live run they are.

        Raises:
            Fatal: the books or a store cannot go on.
        """
        self._agent.note_all(documents)
        self.settle(on_frame)

    def note(self, document: Document, on_frame: Callable[[], None]) -> None:
        """Take one document of a recording, and answer what it makes known."""
        self._agent.note(*document)
        while self._agent.work() is not None:
            on_frame()

    def note_only(self, document: Document) -> None:
        """Take one document of a recording; its frames are answered by `settle`."""
        self._agent.note(*document)

    def settle(self, on_frame: Callable[[], None] = lambda: None) -> None:
        """Answer every frame that waits, also those that are away, to their last try."""
        while self._ledger.waiting()[0]:
            if self._agent.work() is None:
                time.sleep(POLL_S)
            else:
                on_frame()

    def predictions(self, run_uids: Sequence[str]) -> Iterator[Prediction]:
        """Give what the books hold of these runs, in the order of stream and number."""
        for run_uid in run_uids:
            yield from self._ledger.predictions(run_uid)

    def runs(self) -> list[str]:
        """Give the runs in the books, oldest first."""
        return self._ledger.run_uids()

    def deliver(self) -> None:
        """Wait until every store has what it should have.

        Raises:
            Unavailable: one takes nothing; what is left goes with the next replay.
        """
        waited, left = time.monotonic(), -1
        while any(self._ledger.owes(name) for name in self._couriers):
            now = sum(self._ledger.backlog(name) for name in self._couriers)
            failed = [c.failure for c in self._couriers.values() if c.failure is not None]
            if failed:
                raise failed[0]
            if now != left:
                waited, left = time.monotonic(), now
            elif time.monotonic() - waited > PATIENCE_S:
                raise Unavailable(f"{now} predictions wait for a store; replay again to send them")
            time.sleep(POLL_S)

    def _sent_out(self, config: Config, stores: Stores, workshop: Workshop) -> dict[str, Courier]:
        redis = partial(open_sink, config.redis, stores.redis, config.agent_id)
        tiled = partial(open_sink, config.tiled, stores.tiled)
        return {
            name: Courier(self._ledger, name, connect, workshop.provenance)
            for name, connect in (("redis", redis), ("tiled", tiled))
        }


def _books_of(folder: Path, workshop: Workshop, *, published: bool) -> Path:
    """Give the books' file, named after all that the numbers depend on."""
    made_with = workshop.provenance
    settings = (made_with.config_hash, made_with.poni_sha256, made_with.mask_sha256)
    name = "published" if published else "kept"
    return folder / f"{name}-{_short(workshop.model)}-{_short(*settings)}.sqlite"


def _like(path: Path) -> str:
    """Give the pattern of other published books of the same model; of kept ones none matters."""
    published, model, _ = path.stem.split("-")
    return f"{published}-{model}-*.sqlite" if published == "published" else path.name


def _short(*parts: object) -> str:
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:12]


def _run_uids(path: Path) -> list[str]:
    books = Books(path, SINKS)
    try:
        return [record.uid for record in books.runs() if record.account.seen]
    finally:
        books.close()


def _look(archive: RawArchive, run_uid: str) -> Future[Answer]:
    """Ask for a run at once: a replay has nothing else to do, and one client for all."""
    future: Future[Answer] = Future()
    try:
        future.set_result(archive.run(run_uid))
    except QdError as error:
        future.set_exception(error)
    return future


def paced(
    documents: Iterable[tuple[float, Document]], speed: float, sleep: Callable[[float], None]
) -> Iterator[Document]:
    """Give the documents of a recording as they came, `speed` times as fast; 0 does not wait."""
    before: float | None = None
    for when, document in documents:
        if speed > 0.0 and before is not None and when > before:
            sleep((when - before) / speed)
        before = when
        yield document


def is_recording(origin: str) -> bool:
    """Tell whether what is to be replayed is a file."""
    return "://" not in origin and Path(origin).suffix in {".jsonl", ".json", ".ndjson"}
