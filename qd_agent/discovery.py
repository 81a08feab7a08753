"""Runs of which no document came: the catalog of raw runs is read, and names them.

The catalog lists what came to it last first. A pass reads pages until it meets a run that stood
first when an earlier pass had come to its end; what it did not know goes on the agenda, to be
looked up like any incomplete run. One page is asked for at a time, and nobody waits for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import structlog

from qd_agent.core.catalog import CatalogPage, CatalogRun
from qd_agent.core.errors import QdError
from qd_agent.ledger import Ledger
from qd_agent.ledger.settings import ReconcileSettings

_log = structlog.get_logger(__name__)

MARKS = 20
"""So many of the first runs are remembered, since some of them may be deleted from the catalog."""
MOST_PAGES = 100
"""Pages of one pass; a catalog in which no remembered run is met is read no further."""
SOON_S = 10.0
"""Shortest time between two passes when documents of an unknown run come, and the age that a run
must have: documents of a younger one may still be on their way to us."""
PATIENCE_S = 120.0


class Discovery:
    """Reads the catalog of raw runs now and then.

    Args:
        ledger: what is known, and the agenda.
        page: asks for a page of the catalog.
        settings: how often, and from when on.

    Attributes:
        told: what came of the latest pass, in a few words; '' before the first one.
        found: runs that passes have found since the last `take_found`.
    """

    def __init__(
        self,
        ledger: Ledger,
        page: Callable[[str | None], Future[CatalogPage | None]],
        settings: ReconcileSettings,
    ) -> None:
        self._ledger, self._page, self._settings = ledger, page, settings
        self._future: Future[CatalogPage | None] | None = None
        self._asked_at = self._began = float("-inf")
        self._next = float("inf")
        self._first: list[str] = []
        self._known: frozenset[str] = frozenset()
        self._pages = 0
        self._found = 0
        self.told = ""

    @property
    def busy(self) -> bool:
        """Whether a pass is under way."""
        return self._future is not None

    def begin(self) -> None:
        """Begin a pass now, if none is under way; later ones follow by themselves."""
        if self._future is None:
            self._known, self._first = frozenset(self._ledger.agenda.newest()), []
            self._pages = 0
            self._began = time.monotonic()
            self._ask(None)

    def hasten(self) -> None:
        """Have the next pass soon: documents have come that belong to a run nobody knows."""
        self._next = min(self._next, self._began + self._soon)

    def take_found(self) -> int:
        """Give how many runs were found since the last call."""
        found, self._found = self._found, 0
        return found

    def turn(self) -> None:
        """Go on with the pass under way, or begin one that is due."""
        if self._future is None:
            if time.monotonic() >= self._next:
                self.begin()
            return
        if self._future.done():
            self._take(self._future)
        elif time.monotonic() - self._asked_at > PATIENCE_S:
            self._end("Tiled has not answered")

    def _ask(self, following: str | None) -> None:
        self._future, self._asked_at = self._page(following), time.monotonic()

    def _take(self, future: Future[CatalogPage | None]) -> None:
        try:
            page = future.result()
        except QdError as error:
            self._end(str(error))
            return
        if page is None:
            self._end("Tiled has no catalog of raw runs; those never announced cannot be found")
            return
        self._pages += 1
        met = any(run.uid in self._known for run in page.runs)
        ripe = [run for run in page.runs if not self._is_young(run)]
        self._first += [run.uid for run in ripe[: MARKS - len(self._first)]]
        recent = self._recent(ripe)
        self._enlist(recent)
        if not met and self._goes_on(page, bool(recent) or len(ripe) < len(page.runs)):
            self._ask(page.following)
            return
        if self._first:
            self._ledger.agenda.read_up_to(self._first)
        self._end("")

    def _recent(self, runs: Sequence[CatalogRun]) -> list[str]:
        """Give those of the runs that count: neither from before our time nor pruned."""
        agenda = self._ledger.agenda
        since = self._settings.since(agenda.first_start, time.time())
        pruned = agenda.pruned_up_to
        return [run.uid for run in runs if run.time >= since and run.time > pruned]

    def _is_young(self, run: CatalogRun) -> bool:
        return abs(time.time() - run.time) < self._soon

    @property
    def _soon(self) -> float:
        return min(SOON_S, self._settings.find_every_s)

    def _enlist(self, run_uids: Sequence[str]) -> None:
        """Put those of the runs on the agenda that are unknown."""
        agenda = self._ledger.agenda
        strangers = agenda.strangers(run_uids)
        with self._ledger.together():
            for run_uid in strangers:
                agenda.add(run_uid, time.time())
        self._found += len(strangers)
        if strangers:
            _log.info(
                "the catalog has runs of which nothing was heard",
                runs=len(strangers),
                first=strangers[0],
            )

    def _goes_on(self, page: CatalogPage, some_count: bool) -> bool:
        if page.following is None:
            return False
        if self._pages >= MOST_PAGES:
            _log.warning("the catalog of raw runs was not read to the end", pages=self._pages)
            return False
        # Without a place to stop at, as at the very first time: no further than old runs alone.
        return bool(self._known) or some_count

    def _end(self, trouble: str) -> None:
        if trouble and not self.told:  # once, however the reason may vary
            _log.warning("runs that nobody announced are not looked for now", reason=trouble)
        elif self.told and not trouble:
            _log.info("runs that nobody announced are looked for again")
        self.told, self._future = trouble, None
        self._next = time.monotonic() + self._settings.find_every_s
