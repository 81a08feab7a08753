"""The commands `qd-agent replay` and `qd-agent record`."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[
    Path, typer.Option("--config", metavar="CONFIG.yaml", help="As for live runs.", dir_okay=False)
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("replay")(_replay)
    app.command("record")(_record)


def _replay(
    origin: Annotated[
        str,
        typer.Argument(
            metavar="ORIGIN",
            help="A Tiled server (https://...), `tiled` (the configuration's), `databroker:NAME` "
            "(v1), or a recording (FILE.jsonl).",
        ),
    ],
    config: ConfigOption,
    run: Annotated[
        list[str] | None, typer.Option("--run", metavar="UID", help="These runs only.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Runs from then on: 2026-01-31, or epoch s.")
    ] = None,
    query: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Runs whose start document has this."),
    ] = None,
    publish: Annotated[
        bool, typer.Option("--publish", help="Send predictions to Redis and Tiled.")
    ] = False,
    json_lines: Annotated[
        bool, typer.Option("--json", help="Print one prediction a line as JSON.")
    ] = False,
    speed: Annotated[
        float, typer.Option(min=0.0, help="Of a recording: 1 as it came, 0 without waiting.")
    ] = 0.0,
    at_once: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=64,
            help="Runs sized at once, on a core each [default: as there are cores, at most 4].",
        ),
    ] = None,
) -> None:
    """Size runs of the past by the same path as live ones, with the same numbers.

    It keeps books of its own in the data folder: stopped and started again, it goes on where it
    was. Ctrl-C (or SIGTERM) stops it after the frames in hand.

    \b
    Examples:
      qd-agent replay tiled --config beamline.yaml --since 2025-11-01 --publish
      qd-agent replay https://tiled.example.org --config beamline.yaml --query sample_name=PbS
      qd-agent replay runs.jsonl --config beamline.yaml --json
    """
    from qd_agent.cli import single_threaded

    single_threaded()
    from qd_agent.config import load_config
    from qd_agent.past_runs import Wanted, read_query
    from qd_agent.replaying import Options, read_time, replay

    wanted = Wanted(
        tuple(run or ()),
        None if since is None else read_time(since),
        dict(map(read_query, query or ())),
    )
    options = Options(wanted, publish=publish, json_lines=json_lines, speed=speed, at_once=at_once)
    with _orderly_end():
        if not replay(load_config(config), origin, options):
            raise typer.Exit(1)


@contextmanager
def _orderly_end() -> Generator[None]:
    """Close everything on SIGTERM as on Ctrl-C, and say how it goes on; a second one ends it."""
    import signal
    import threading

    sent: list[int] = []

    def stop(number: int, _frame: object) -> None:
        sent.append(number)
        signal.signal(number, signal.SIG_DFL)
        raise KeyboardInterrupt

    ours = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGINT, signal.SIGTERM) if ours else ()
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("qd-agent: stopped; the same command goes on from there", err=True)
        raise typer.Exit(128 + (sent[0] if sent else signal.SIGINT)) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _record(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG.yaml", help="Whose sources.", dir_okay=False)
    ],
    output: Annotated[Path, typer.Argument(metavar="FILE.jsonl", help="Is added to.")],
    rotate_mb: Annotated[
        int, typer.Option(min=1, help="Go on in a new file beyond so many megabytes.")
    ] = 1024,
    runs: Annotated[int, typer.Option(min=0, help="Stop after so many runs; 0: never.")] = 0,
) -> None:
    """Keep live documents in a file, one JSON line each, until stopped (SIGTERM or Ctrl-C).

    \b
    Example:
      qd-agent record beamline.yaml runs.jsonl
    """
    from qd_agent.config import load_config
    from qd_agent.recording import record

    record(load_config(config), output, rotate_bytes=rotate_mb << 20, runs=runs)
