"""`qd-agent replay`: finds the runs, sizes them with a progress bar, prints or publishes."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
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
from qd_agent.past_runs import PastRuns, Patient, TiledRuns, Wanted, open_broker
from qd_agent.replay import Replay, Stores, is_recording, paced
from qd_agent.replay_progress import progress
from qd_agent.replay_worker import log_level_of
from qd_agent.sinks import RedisConnection, TiledConnection, resolve_redis, resolve_tiled

BROKER = "databroker:"
MOST_BY_DEFAULT = 4
"""Runs that are sized at once where nobody says how many: each takes a core, and memory."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to replay.

    Attributes:
        wanted: which runs.
        publish: whether predictions go to Redis and Tiled.
        json_lines: whether they are printed as JSON.
        speed: of a recording; 0 does not wait.
        at_once: runs that are sized at once, each by a process of its own, while so many are
            fetched ahead; None: as many as there are cores, but not more than MOST_BY_DEFAULT.
    """

    wanted: Wanted
    publish: bool = False
    json_lines: bool = False
    speed: float = 0.0
    at_once: int | None = None

    @property
    def most(self) -> int:
        """Give the largest number of runs that are sized at once."""
        cores = len(os.sched_getaffinity(0))
        return self.at_once or min(cores, MOST_BY_DEFAULT)


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
    set_up_logging(log_level_of(config))
    with ExitStack() as stack:
        stores = None
        if options.publish:
            stores = _own_stores(config, stack)
        if is_recording(origin):
            replaying = Replay(config, stack, stores)
            runs, missing = _play(replaying, Path(origin), options)
        else:
            past = Patient(_open(config, origin, stack, stores))
            uids = past.find(options.wanted)
            replaying = Replay(config, stack, stores, past.archive())
            runs, missing = uids, _size(replaying, past, uids, options.most)
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
    replaying.try_again(starts)
    if not options.speed:
        replaying.employ(min(options.most, len(starts)))
    with progress("documents", None) as advance:
        for name, doc in paced(read_recording(path), options.speed, time.sleep):
            if options.speed > 0.0:
                replaying.note((name, doc))
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
    replaying.try_again(uids)
    left = [uid for uid in uids if not replaying.is_done(uid)]
    replaying.employ(min(at_once, len(left)))
    with progress("runs", len(uids)) as advance:
        for _ in range(len(uids) - len(left)):
            advance()
        with closing(_fetched(past, left, at_once)) as fetched:
            for uid, documents in fetched:
                if isinstance(documents, str):
                    trouble.append(f"run {uid}{documents}")
                    advance()
                else:
                    replaying.take(documents, advance)
        replaying.settle()
    return trouble


def _fetched(
    past: PastRuns, uids: Sequence[str], ahead: int
) -> Generator[tuple[str, list[Document] | str]]:
    """Give each run with its documents, or with what is wrong with it."""
    left = deque(uids)
    # One thread asks the catalog, whose client is not made for several; meanwhile frames are sized.
    asking = ThreadPoolExecutor(1)
    asked: deque[tuple[str, Future[list[Document] | None]]] = deque()
    try:
        while left or asked:
            while left and len(asked) < ahead:
                uid = left.popleft()
                asked.append((uid, asking.submit(past.documents, uid)))
            uid, answer = asked.popleft()
            try:
                yield uid, answer.result() or " is not there"
            except QdError as error:
                yield uid, f": {error}"
    finally:
        asking.shutdown(cancel_futures=True)


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
