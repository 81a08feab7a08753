"""`qd-agent replay`: finds the runs, sizes them with a progress bar, prints or publishes."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from qd_agent.config import Config
from qd_agent.core.errors import Mistake, QdError
from qd_agent.core.ports import Document
from qd_agent.core.prediction import Prediction
from qd_agent.daemon import open_stores, set_up_logging
from qd_agent.documents.recording import read_recording
from qd_agent.embedded import find_server
from qd_agent.past_runs import PastRuns, TiledRuns, Wanted, open_broker
from qd_agent.replay import Replay, Stores, is_recording, paced
from qd_agent.sinks import RedisConnection, TiledConnection, resolve_redis, resolve_tiled

BROKER = "databroker:"
SAY_EVERY_S = 10.0
"""Pause between lines about the progress where nobody watches a bar."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to replay.

    Attributes:
        wanted: which runs.
        publish: whether predictions go to Redis and Tiled.
        json_lines: whether they are printed as JSON.
        speed: of a recording; 0 does not wait.
        at_once: runs that are fetched ahead while one is sized.
    """

    wanted: Wanted
    publish: bool = False
    json_lines: bool = False
    speed: float = 0.0
    at_once: int = 4


def read_time(text: str) -> float:
    """Read a time as UTC epoch s: ISO 8601 (without a zone: this machine's), or the number itself.

    Raises:
        Mistake: it is neither.
    """
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).astimezone(UTC).timestamp()
    except ValueError:
        raise Mistake(
            f"--since {text!r}: expected a time such as 2026-01-31 or 1769817600"
        ) from None


def replay(config: Config, origin: str, options: Options) -> bool:
    """Replay; give whether every run was there.

    Raises:
        Mistake: the origin, or a run in it, cannot be used.
        Fatal: something that is needed cannot be opened.
    """
    _check(origin, options)
    set_up_logging("warning" if config.log_level == "info" else config.log_level)
    with ExitStack() as stack:
        stores = None
        if options.publish:
            stores = _own_stores(config, stack)
        if is_recording(origin):
            replaying = Replay(config, stack, stores)
            runs, missing = _play(replaying, Path(origin), options)
        else:
            past = _open(config, origin, stack, stores)
            uids = past.find(options.wanted)
            tiled = past.archive() if isinstance(past, TiledRuns) else None
            replaying = Replay(config, stack, stores, tiled)
            runs, missing = uids, _size(replaying, past, uids, options.at_once)
        _print(list(replaying.predictions(runs)), as_json=options.json_lines)
        replaying.deliver()
        for reason in missing:
            sys.stderr.write(f"qd-agent: {reason}\n")
        return not missing


def _check(origin: str, options: Options) -> None:
    wanted = options.wanted
    if wanted.uids and (wanted.since is not None or wanted.where):
        raise Mistake("--run says which runs; leave --since and --query out")
    if is_recording(origin) and options.publish and wanted != Wanted():
        raise Mistake(
            f"a recording is published whole ({origin}); leave --run, --since and --query out, or "
            "print what you want with --json"
        )


def _open(config: Config, origin: str, stack: ExitStack, stores: Stores | None) -> PastRuns:
    if origin.startswith(BROKER):
        return open_broker(origin.removeprefix(BROKER))
    settings = config.tiled
    if origin.startswith(("http://", "https://")):
        settings = config.tiled.model_copy(update={"uri": origin})
        connection = resolve_tiled(settings)
    elif origin == "tiled":
        connection = (stores or _own_stores(config, stack)).tiled
    else:
        raise Mistake(
            f"{origin!r} is no origin of runs; expected https://..., tiled, databroker:NAME or a "
            "recording FILE.jsonl"
        )
    assert connection is not None  # noqa: S101 - a URI is given
    return TiledRuns(settings, connection, stack)


def _own_stores(config: Config, stack: ExitStack) -> Stores:
    """Give the configured stores, those of an agent that runs, or the agent's own, started."""
    redis, tiled = resolve_redis(config.redis), resolve_tiled(config.tiled)
    running = find_server(config.data / "redis")
    if redis is None and running is not None:
        redis = RedisConnection(running.url, running.secret)
    running = find_server(config.data / "tiled")
    if tiled is None and running is not None:
        tiled = TiledConnection(running.url, running.secret)
    if redis is None or tiled is None:
        redis, tiled, _ = open_stores(config, stack)
    return Stores(redis, tiled)


def _play(replaying: Replay, path: Path, options: Options) -> tuple[list[str], list[str]]:
    """Play a recording, all of it; give the wanted runs, and in a line each what could not be.

    Its dark and background runs may be others than those that are wanted.
    """
    starts = {
        str(doc.get("uid")): doc for _, (name, doc) in read_recording(path) if name == "start"
    }
    published = [uid for uid in starts if replaying.is_published_otherwise(uid)]
    if published:
        return [], [_published_otherwise(uid) for uid in published]
    with _progress("documents", None) as advance:
        for name, doc in paced(read_recording(path), options.speed, time.sleep):
            if options.speed > 0.0:
                replaying.note((name, doc), lambda: None)
            else:
                replaying.note_only((name, doc))
            advance()
    replaying.settle()
    missing = [f"run {uid} is not in {path}" for uid in options.wanted.uids if uid not in starts]
    return [uid for uid, start in starts.items() if options.wanted.has(uid, start)], missing


def _published_otherwise(uid: str) -> str:
    return (
        f"run {uid} was published by this model with another configuration or calibration, and "
        "Redis and Tiled keep that answer; nothing was sent (--json prints the new one)"
    )


def _size(replaying: Replay, past: PastRuns, uids: Sequence[str], at_once: int) -> list[str]:
    """Size the runs, others fetched meanwhile; give in a line each what could not be."""
    trouble = [_published_otherwise(uid) for uid in uids if replaying.is_published_otherwise(uid)]
    uids = [uid for uid in uids if not replaying.is_published_otherwise(uid)]
    left = deque(uid for uid in uids if not replaying.is_done(uid))
    # One thread asks the catalog, whose client is not made for several; meanwhile frames are sized.
    with ThreadPoolExecutor(1) as asking, _progress("runs", len(uids)) as advance:
        for _ in range(len(uids) - len(left)):
            advance()
        asked: deque[tuple[str, Future[list[Document] | None]]] = deque()
        while left or asked:
            while left and len(asked) < at_once:
                uid = left.popleft()
                asked.append((uid, asking.submit(past.documents, uid)))
            uid, answer = asked.popleft()
            try:
                documents = answer.result()
            except QdError as error:
                documents = None
                trouble.append(f"run {uid}: {error}")
            else:
                if documents is None:
                    trouble.append(f"run {uid} is not there")
            if documents is not None:
                replaying.take(documents, lambda: None)
            advance()
    return trouble


class _Lines:
    """Says how far it is, at most every SAY_EVERY_S seconds, and at the end."""

    def __init__(self, what: str, total: int | None) -> None:
        self._what, self._total = what, total
        self._done, self._said = 0, time.monotonic()

    def advance(self) -> None:
        self._done += 1
        now = time.monotonic()
        if self._done == self._total or now - self._said >= SAY_EVERY_S:
            self._said = now
            of = "" if self._total is None else f" of {self._total}"
            sys.stderr.write(f"{self._done}{of} {self._what}\n")
            sys.stderr.flush()


@contextmanager
def _progress(what: str, total: int | None) -> Generator[Callable[[], None]]:
    """Show a bar on a terminal; elsewhere, as in a log, a line now and then."""
    if not sys.stderr.isatty():
        yield _Lines(what, total).advance
        return
    from rich.console import Console  # noqa: PLC0415 - only where it is shown
    from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)


def _print(predictions: Sequence[Prediction], *, as_json: bool) -> None:
    for prediction in predictions:
        if as_json:
            sys.stdout.write(prediction.model_dump_json() + "\n")
            continue
        size = prediction.reason
        if prediction.diameter_nm is not None and prediction.interval_nm is not None:
            low, high = prediction.interval_nm
            size = f"{prediction.diameter_nm:.2f} nm ({low:.2f} to {high:.2f})"
        sys.stdout.write(f"{prediction.key}  {prediction.verdict.value}  {size}\n")
    sys.stdout.flush()
