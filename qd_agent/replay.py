"""Runs of the past, sized by the same path as live ones: from Tiled, databroker or a recording.

A replay keeps books of its own, so that one that was stopped goes on where it was, and a running
agent is not touched.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from qd_agent.answers import OUT_OF_REACH
from qd_agent.config import SINKS, Config
from qd_agent.core.errors import Unavailable
from qd_agent.core.ports import Document
from qd_agent.core.prediction import Prediction
from qd_agent.courier import FLUSH_S, Courier
from qd_agent.daemon_lock import alone_in
from qd_agent.ledger import Ledger
from qd_agent.replay_agent import ArchiveOpener, open_bench
from qd_agent.replay_books import books_of, published_otherwise
from qd_agent.replay_crew import Crew
from qd_agent.replay_worker import BOOKS_PATIENCE_S, Order
from qd_agent.sinks import RedisConnection, TiledConnection, open_sink
from qd_agent.workshop import Workshop

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
        archive: for dark and background runs that the books do not have, and for frames that are
            there alone, or whose files cannot be reached.

    Raises:
        Fatal: another replay is at work there, or something cannot be opened.
    """

    def __init__(
        self,
        config: Config,
        stack: ExitStack,
        stores: Stores | None = None,
        archive: ArchiveOpener | None = None,
    ) -> None:
        folder = config.data / "replay"
        stack.enter_context(alone_in(folder))
        bench = open_bench(config, stack, archive)
        workshop = bench.workshop
        sinks = () if stores is None else SINKS
        path = books_of(folder, workshop, published=stores is not None)
        self._published_before = frozenset[str]() if stores is None else published_otherwise(path)
        self._ledger = Ledger(path, workshop.model, sinks, patience_s=BOOKS_PATIENCE_S)
        stack.callback(self._ledger.close)
        self._couriers = {} if stores is None else self._sent_out(config, stores, workshop)
        for courier in self._couriers.values():
            courier.start()
            stack.callback(courier.join, 2 * FLUSH_S)  # it still uses the books
            stack.callback(courier.stop)
        self._agent = bench.agent(config, self._ledger)
        self._agent.recover()
        self._order = Order(config, path, workshop.model, sinks, archive)
        self._stack = stack
        self._crew: Crew | None = None
        self._in_hand: dict[Future[None], Callable[[], None]] = {}
        self._given: set[str] = set()

    def employ(self, count: int) -> None:
        """Have runs sized by so many processes at once from here on; one is this process alone."""
        if count > 1:
            self._crew = Crew(self._order, count)
            self._stack.callback(self._crew.close)

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

    def try_again(self, run_uids: Iterable[str]) -> None:
        """Open frames of these runs again that could not be reached: perhaps they can by now."""
        wanted, aside = frozenset(run_uids), self._ledger.set_aside()
        bad = {frame.run_uid for frame in aside if OUT_OF_REACH not in frame.flags}
        lost = [f for f in aside if OUT_OF_REACH in f.flags and f.run_uid in wanted]
        for run_uid in {frame.run_uid for frame in lost} - bad:  # all of a run at once
            self._ledger.retry(run_uid)
        for frame in lost:
            if frame.run_uid in bad:
                self._ledger.retry(frame.run_uid, frame.seq_num)

    def take(self, documents: Iterable[Document], on_done: Callable[[], None]) -> None:
        """Size the frames of some documents, one run or several.

        Darks are known before the first light frame is answered, as in a live run they are.

        Args:
            documents: of whole runs.
            on_done: called when all frames are answered: before this returns, or, where several
                processes are at work, in a later `take` or `settle`.

        Raises:
            Fatal: the books, a store or a worker cannot go on.
        """
        self._agent.note_all(documents)
        if self._crew is None:
            self.settle()
            on_done()
            return
        self._hand_out(self._crew, on_done)
        self._await(2 * self._crew.count)  # enough that none is idle

    def note(self, document: Document) -> None:
        """Take one document of a recording, and answer what it makes known."""
        self._agent.note(*document)
        self._agent.work_all()

    def note_only(self, document: Document) -> None:
        """Take one document of a recording; its frames are answered by `settle`."""
        self._agent.note(*document)

    def settle(self) -> None:
        """Answer every frame that waits, also those that are away, to their last try."""
        if self._crew is not None:
            self._hand_out(self._crew, lambda: None)
            self._await(0)
            return
        while self._ledger.waiting()[0]:
            if self._agent.work() is None:
                time.sleep(POLL_S)

    def _hand_out(self, crew: Crew, on_done: Callable[[], None]) -> None:
        """Give the runs to the crew that wait and that it has not got yet."""
        runs = sorted(self._ledger.runs_with_work() - self._given)
        left = len(runs)

        def one_is_done() -> None:
            nonlocal left
            left -= 1
            if not left:
                on_done()

        for run_uid in runs:
            self._given.add(run_uid)
            self._in_hand[crew.size(run_uid)] = one_is_done
        if not runs:
            on_done()

    def _await(self, most: int) -> None:
        """Wait until at most so many runs are in hand."""
        while len(self._in_hand) > most:
            done, _ = wait(self._in_hand, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
                self._in_hand.pop(future)()

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
