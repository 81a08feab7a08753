"""Where runs of the past are: which there are, and the documents of each."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar, cast

from qd_agent.core.catalog import CatalogRun
from qd_agent.core.errors import BadFrame, Fatal, Mistake, Unavailable
from qd_agent.core.ports import Document
from qd_agent.replay_agent import ArchiveOpener
from qd_agent.sinks import TiledConnection
from qd_agent.sinks.raw_archive import RawArchive
from qd_agent.sinks.settings import TiledSettings


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which runs are wanted.

    Attributes:
        uids: these; empty means all that the rest allows.
        since: those that started at this time (UTC epoch s) or later; None does not look.
        where: fields of the start document and the values that they must have.
    """

    uids: Sequence[str] = ()
    since: float | None = None
    where: Mapping[str, object] = field(default_factory=dict[str, object])

    def has(self, uid: str, start: Mapping[str, object]) -> bool:
        """Tell whether a run is wanted, by its start document."""
        if self.uids:
            return uid in self.uids
        time = start.get("time")
        late = self.since is None or (isinstance(time, int | float) and time >= self.since)
        return late and all(start.get(key) == value for key, value in self.where.items())


class PastRuns(Protocol):
    """A catalog of runs."""

    def find(self, wanted: Wanted) -> list[str]:
        """Give the uids of the wanted runs, oldest first. Raises QdError."""
        ...

    def documents(self, run_uid: str) -> list[Document] | None:
        """Give the documents of a run, None when it is not there. Raises QdError."""
        ...

    def archive(self) -> ArchiveOpener:
        """Give what opens a connection for another thread or process."""
        ...


_Answer = TypeVar("_Answer")
AGAIN_S = (0.5, 2.0, 5.0)
"""Pauses before another try: a catalog answers 500 once when somebody else writes to it, and a
replay of a night's runs does not end for that."""


class Patient:
    """A catalog of runs that is asked again when it has no answer now.

    Args:
        past: the catalog.
        pauses_s: how long to wait before each try after the first.
        sleep: waits that long.
    """

    def __init__(
        self,
        past: PastRuns,
        pauses_s: Sequence[float] = AGAIN_S,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._past, self._pauses_s, self._sleep = past, pauses_s, sleep

    def find(self, wanted: Wanted) -> list[str]:
        """Give the uids of the wanted runs, oldest first. Raises QdError."""
        return self._ask(partial(self._past.find, wanted))

    def documents(self, run_uid: str) -> list[Document] | None:
        """Give the documents of a run, None when it is not there. Raises QdError."""
        return self._ask(partial(self._past.documents, run_uid))

    def archive(self) -> ArchiveOpener:
        """Give what opens a connection for another thread or process."""
        return self._past.archive()

    def _ask(self, question: Callable[[], _Answer]) -> _Answer:
        for pause_s in self._pauses_s:
            try:
                return question()
            except Unavailable:
                self._sleep(pause_s)
        return question()


def read_query(text: str) -> tuple[str, object]:
    """Read KEY=VALUE; a value that is JSON (a number, true) is taken as such, else as text.

    Raises:
        Mistake: no '=' in it, or no key.
    """
    key, sign, value = text.partition("=")
    if not sign or not key.strip():
        raise Mistake(f"--query {text!r}: expected KEY=VALUE, such as sample_name=PbS")
    try:
        return key.strip(), json.loads(value)
    except ValueError:
        return key.strip(), value


class TiledRuns:
    """Runs in a Tiled catalog of Bluesky runs; also what databroker 2 calls a catalog."""

    def __init__(
        self, settings: TiledSettings, connection: TiledConnection, stack: ExitStack
    ) -> None:
        self._settings, self._connection = settings, connection
        self._archive = RawArchive(settings, connection)
        self._shown = f"{settings.raw_container or 'the root'} of {connection.shown}"
        stack.callback(self._archive.close)

    def archive(self) -> ArchiveOpener:
        """Give what opens a connection for another thread or process."""
        return partial(RawArchive, self._settings, self._connection)

    def find(self, wanted: Wanted) -> list[str]:
        """Give the uids of the wanted runs, oldest first."""
        if wanted.uids:
            return list(wanted.uids)
        found: dict[str, CatalogRun] = {}
        following: str | None = None
        while True:
            page = self._archive.page(following, wanted.where)
            if page is None:
                raise Mistake(
                    f"there is no catalog of runs in {self._shown}; set tiled.raw_container"
                )
            found |= {run.uid: run for run in page.runs}
            following = page.following
            if following is None:
                break
        runs = [r for r in found.values() if wanted.since is None or r.time >= wanted.since]
        return [run.uid for run in sorted(runs, key=lambda run: run.time)]

    def documents(self, run_uid: str) -> list[Document] | None:
        """Give the documents of a run."""
        return self._archive.run(run_uid)


class BrokerRuns:
    """Runs in a databroker v1 catalog, through databroker's back-compatible interface.

    Args:
        broker: a `databroker.v1.Broker`, or what behaves like one.
        name: by which it was opened.
    """

    def __init__(self, broker: Any, name: str = "") -> None:
        self._broker, self._name = broker, name

    def archive(self) -> ArchiveOpener:
        """Give what opens the catalog for another thread or process."""
        return partial(open_broker, self._name)

    def close(self) -> None:
        """Nothing is to be closed; an archive can be."""

    def find(self, wanted: Wanted) -> list[str]:
        """Give the uids of the wanted runs, oldest first."""
        if wanted.uids:
            return [self._whole(uid) for uid in wanted.uids]
        since = {} if wanted.since is None else {"since": wanted.since}
        starts = [dict(header.start) for header in self._broker(**since, **wanted.where)]
        return [str(start["uid"]) for start in sorted(starts, key=_time_of)]

    def _whole(self, uid: str) -> str:
        """Give the whole uid of a run, of which databroker takes the beginning too."""
        try:
            return str(self._broker[uid].start["uid"])
        except (KeyError, ValueError):
            return uid

    def documents(self, run_uid: str) -> list[Document] | None:
        """Give the documents of a run, with resource and datum documents as they were.

        Raises:
            BadFrame: its server cannot tell them, as of runs with stream_resource documents.
        """
        from httpx import HTTPError  # noqa: PLC0415 - databroker's own client is built on it

        try:
            header = self._broker[run_uid]
        except (KeyError, ValueError):
            return None
        try:
            found: Iterator[tuple[str, Mapping[str, object]]] = header.documents(fill=False)
            return [(str(name), dict(doc)) for name, doc in found]
        except HTTPError as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise BadFrame(f"databroker cannot give its documents: {reason}") from error

    run = documents
    """The same, by the name that an archive has for it."""


def _time_of(start: Mapping[str, Any]) -> float:
    return float(start["time"])


def open_broker(name: str) -> BrokerRuns:
    """Open a databroker v1 catalog by its name.

    Raises:
        Fatal: databroker with its back-compat extra is not installed.
        Mistake: there is no such catalog.
    """
    try:
        from databroker.v1 import Broker  # noqa: PLC0415  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise Fatal(
            "replaying from databroker needs the package: pip install 'databroker[back-compat]'"
        ) from error
    named = cast("Callable[[str], object]", Broker.named)
    try:
        return BrokerRuns(named(name), name)
    except (FileNotFoundError, LookupError, AttributeError, ValueError) as error:
        raise Mistake(f"databroker has no catalog {name!r}: {error}") from error
