"""The daemon put together: configuration in, rooms opened, service run, everything closed again."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import structlog

from qd_agent.agent import Agent
from qd_agent.archivist import Archivist
from qd_agent.chores import Chores
from qd_agent.config import SINKS, Config, ledger_path
from qd_agent.core.errors import Fatal
from qd_agent.core.ports import DocumentSource, PredictionSink
from qd_agent.core.prediction import Prediction
from qd_agent.courier import Courier
from qd_agent.daemon_lock import alone_in
from qd_agent.discovery import Discovery
from qd_agent.documents import TiledStreamSettings, open_router, open_source
from qd_agent.embedded import RunningServer, start_redis, start_tiled
from qd_agent.exposure import open_doors
from qd_agent.health import Health, Pulsing
from qd_agent.intake import QUEUE_SIZE, DocumentQueue
from qd_agent.ledger import Ledger
from qd_agent.metrics import AgentMetrics, MetricsServer, health_of
from qd_agent.quiet_runs import QuietRuns
from qd_agent.reconciliation import Reconciliation
from qd_agent.service import Service
from qd_agent.sinks import (
    RedisConnection,
    TiledConnection,
    open_sink,
    resolve_redis,
    resolve_tiled,
)
from qd_agent.sinks.raw_archive import RawArchive
from qd_agent.sinks.tls import hint
from qd_agent.workshop import finder_of, open_workshop, patience_of

if TYPE_CHECKING:
    from qd_agent.documents.tiled_stream import TiledDoor

_log = structlog.get_logger(__name__)


def run_daemon(config: Config) -> None:
    """Run the agent until SIGTERM or SIGINT.

    Raises:
        Fatal: something it needs cannot be opened, or is lost for good while it runs.
    """
    set_up_logging(config.log_level)
    with ExitStack() as stack:
        stack.enter_context(alone_in(config.data))
        _run(config, stack, once=False)


def run_once(config: Config) -> None:
    """Without a running agent: answer the requests in the ledger, and do what came of them.

    No document is received; it ends when every store has what it should have, or is away.

    Raises:
        Fatal: something it needs cannot be opened.
    """
    set_up_logging("warning" if config.log_level == "info" else config.log_level)
    with ExitStack() as stack:
        stack.enter_context(alone_in(config.data))
        _run(config, stack, once=True)


def run_beside(
    config: Config,
    sources: Mapping[str, DocumentSource],
    stopping: threading.Event,
    begun: Callable[[], None],
    on_answer: Callable[[Prediction], None],
) -> None:
    """Run the agent on this thread, beside whatever the process does, until `stopping` is set.

    Args:
        config: the configuration; its `source` is not used.
        sources: where documents come from, by name; the caller closes them.
        stopping: ends it.
        begun: called once it is ready.
        on_answer: called with every answer, on this thread.

    Raises:
        Fatal: something it needs cannot be opened, or is lost for good while it runs.
    """
    set_up_logging("warning" if config.log_level == "info" else config.log_level)
    with ExitStack() as stack:
        stack.enter_context(alone_in(config.data))
        _run(
            config,
            stack,
            once=False,
            sources=sources,
            stopping=stopping,
            begun=begun,
            on_answer=on_answer,
        )


def _run(
    config: Config,
    stack: ExitStack,
    *,
    once: bool,
    sources: Mapping[str, DocumentSource] | None = None,
    stopping: threading.Event | None = None,
    begun: Callable[[], None] = lambda: None,
    on_answer: Callable[[Prediction], None] = lambda _: None,
) -> None:
    redis, tiled, servers = open_stores(config, stack)
    stopping = stopping or threading.Event()
    workshop = open_workshop(config, stack, stopping.is_set, RawArchive(config.tiled, tiled))
    provenance, model = workshop.provenance, workshop.model
    ledger = Ledger(ledger_path(config), model, SINKS)
    stack.callback(ledger.close)
    documents = DocumentQueue(QUEUE_SIZE)
    names = [s.shown for s in config.source] if sources is None else list(sources)
    health = Health(config.agent_id, ", ".join(names), model)
    couriers: dict[str, Courier] = {}

    def sinks() -> dict[str, str]:
        return {name: courier.state for name, courier in couriers.items()}

    def fields() -> dict[str, str | int | float]:
        return health.fields(ledger, sinks(), documents.count())

    def pulse(sink: PredictionSink) -> None:
        if isinstance(sink, Pulsing):
            sink.heartbeat(fields())

    metrics = AgentMetrics(fields)

    def answered(prediction: Prediction) -> None:
        couriers["redis"].wake()
        metrics.observe(prediction)
        on_answer(prediction)

    couriers["redis"] = Courier(
        ledger,
        "redis",
        partial(open_sink, config.redis, redis, config.agent_id),
        provenance,
        pulse=pulse,
        watched=20,
        remembered=1000,
    )
    couriers["tiled"] = Courier(
        ledger,
        "tiled",
        partial(open_sink, config.tiled, tiled),
        provenance,
        pause=config.tiled.batch_seconds,
        batch=config.tiled.batch_rows,
    )
    router = open_router(config.routing(), config.metadata)
    archive = RawArchive(config.tiled, tiled)
    archivist = Archivist(archive.run, archive.page, archive.close)
    archivist.start()
    stack.callback(archivist.stop)
    agent = Agent(
        router,
        workshop.stages,
        ledger,
        provenance=provenance,
        streams=frozenset(config.router.streams),
        dark_streams=frozenset(config.router.dark_streams),
        on_answer=answered,
        patience=patience_of(config.frames),
        newest_first=config.order == "newest_first",
        stopping=stopping.is_set,
        finder=finder_of(config, archivist.look),
    )
    reconciliation = Reconciliation(
        agent,
        ledger,
        router,
        new_router=partial(open_router, config.routing(), config.metadata, live=False),
        archive=archivist.look,
        auditors=couriers,
        discovery=Discovery(ledger, archivist.page, config.reconcile),
        quiet=QuietRuns(agent, ledger, router, workshop.reader, config.router.quiet_s),
        settings=config.reconcile,
    )
    # Last: who has subscribed is ready, and a publisher may count on it.
    if sources is None:
        door = partial(_tiled_door, config, tiled, ledger)
        sources = {} if once else open_sources(config, stack, door)
    if config.metrics.port is not None and not once:
        server = MetricsServer(
            config.metrics,
            metrics.registry,
            lambda: health_of(health.state, health.turned, sinks()),
        )
        stack.callback(server.stop)
        _log.info("metrics", host=config.metrics.host, port=server.port)
    for door in open_doors(config):
        _log.warning("open door", reason=door)

    def ready() -> None:
        _log.info("ready", agent=config.agent_id, source=health.source, model=model)
        begun()

    Service(
        agent,
        sources,
        couriers,
        health,
        documents=documents,
        stopping=stopping,
        check=partial(_check_around, servers, archivist),
        ready=ready,
        begin=lambda: None if once else reconciliation.begin(),
        chores=Chores(reconciliation, ledger, config.ledger).turn,
        finished=partial(_settled, reconciliation, ledger, couriers) if once else lambda: False,
    ).run()


def open_sources(
    config: Config, stack: ExitStack, door: Callable[[], TiledDoor] | None = None
) -> dict[str, DocumentSource]:
    """Open every source, by its name; `stack` closes them.

    Args:
        config: names them.
        stack: closes them.
        door: gives the Tiled of a source of that kind; None where there is none.
    """
    sources: dict[str, DocumentSource] = {}
    for settings in config.source:
        tiled = door() if door and isinstance(settings, TiledStreamSettings) else None
        sources[settings.shown] = source = open_source(settings, tiled)
        stack.callback(source.close)
    return sources


def _tiled_door(config: Config, tiled: TiledConnection, ledger: Ledger) -> TiledDoor:
    from qd_agent.documents.tiled_stream import TiledDoor  # noqa: PLC0415 - only with such a source

    archive = RawArchive(config.tiled, tiled)
    return TiledDoor(
        uri=tiled.uri,
        headers={"Authorization": f"Apikey {tiled.api_key}"} if tiled.api_key else {},
        tls=None if tiled.tls is None else tiled.tls.context("tiled"),
        root=tuple(config.tiled.raw_container.split("/")) if config.tiled.raw_container else (),
        read=archive.run,
        close=archive.close,
        is_whole=lambda run_uid: any(record.whole for record in ledger.runs(run_uid)),
        explain=partial(hint, store="tiled"),
    )


def _settled(
    reconciliation: Reconciliation, ledger: Ledger, couriers: Mapping[str, Courier]
) -> bool:
    """Tell whether nothing is left to be done for whoever is there to take it."""
    owed = any(ledger.owes(name) for name, courier in couriers.items() if courier.state == "up")
    connecting = any(courier.state == "connecting" for courier in couriers.values())
    return reconciliation.idle and not owed and not connecting


def set_up_logging(level: str) -> None:
    """Log to standard error: coloured on a terminal, logfmt elsewhere."""
    renderer = (
        structlog.dev.ConsoleRenderer()
        if sys.stderr.isatty()
        else structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"])
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _printable,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def _printable(
    _logger: object, _method: str, line: MutableMapping[str, object]
) -> MutableMapping[str, object]:
    """Keep control characters, which may come from outside, from the reader's terminal."""
    for name, value in line.items():
        if isinstance(value, str) and not value.isprintable():
            line[name] = ascii(value)[1:-1]
    return line


def _check_around(servers: Sequence[RunningServer], archivist: Archivist) -> None:
    """Raise Fatal when something of ours has ended; a restart takes up what is on disk."""
    if not archivist.is_alive():  # an error of ours: it stands above, with its traceback
        raise Fatal(f"the thread {archivist.name} has ended unexpectedly; start again")
    for server in servers:
        if not server.alive():
            raise Fatal(
                f"the embedded server in {server.folder} has ended: {server.last_line()} "
                "(nothing is lost; start the agent again)"
            )


def open_stores(
    config: Config, stack: ExitStack
) -> tuple[RedisConnection, TiledConnection, list[RunningServer]]:
    """Give the connections, starting the servers for which no address is configured."""
    servers: list[RunningServer] = []
    redis, tiled = resolve_redis(config.redis), resolve_tiled(config.tiled)
    if redis is None:
        server = start_redis(config.data / "redis")
        stack.callback(server.stop)
        servers.append(server)
        redis = RedisConnection(server.url, server.secret)
        _log.info("started Redis", url=server.url, folder=str(server.folder))
    if tiled is None:
        server = start_tiled(config.data / "tiled", config.frames.allowed_roots)
        stack.callback(server.stop)
        servers.append(server)
        tiled = TiledConnection(server.url, server.secret)
        _log.info("started Tiled", uri=server.url, folder=str(server.folder))
    return redis, tiled, servers
