"""The commands on the books: `runs`, `reconcile` and `set-aside`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[
    Path | None, typer.Argument(metavar="CONFIG.yaml", help="The agent's configuration.")
]
Data = Annotated[
    Path | None, typer.Option(metavar="DIR", help="The agent's data folder [default: qd-data].")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON array.")]
Run = Annotated[str | None, typer.Option(metavar="UID", help="This run only.")]
Frame = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Frames with this sequence number only.")
]

_set_aside = typer.Typer(
    help="Frames that were set aside: list them, or have them tried anew.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(runs)
    app.command()(reconcile)
    app.add_typer(_set_aside, name="set-aside")


def runs(
    config: ConfigFile = None, data: Data = None, run: Run = None, as_json: AsJson = False
) -> None:
    """Show the account of every run: expected, seen, sized, set aside, delivered, missing.

    Below a run that is not whole: why, and when it is looked up in Tiled again.

    Works beside a running agent, and without one. Exit code 0: every closed run is whole;
    1: frames are missing.

    \b
    Examples:
      qd-agent runs beamline.yaml
      qd-agent runs --data qd-data --json
    """
    from qd_agent.books_report import print_runs

    if not print_runs(config, data, run, as_json=as_json):
        raise typer.Exit(1)


def reconcile(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG.yaml", help="The agent's configuration.")
    ],
    run: Run = None,
    wait: Annotated[
        float, typer.Option(min=0.0, help="Seconds to wait for a running agent's answer.")
    ] = 180.0,
) -> None:
    """Compare the books with files, Tiled and Redis, and mend the difference.

    Runs of which nothing was heard are found in Tiled's catalog of raw runs, runs whose stop was
    missed are closed by Tiled's stop document, frames that were never announced are taken from
    files or Tiled and sized, and a store that was emptied gets again what it should have. A
    running agent does it (and most of it by itself); without one it is done here.

    \b
    Examples:
      qd-agent reconcile beamline.yaml
      qd-agent reconcile beamline.yaml --run 3f0c
    """
    import os

    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    from qd_agent.books_report import reconcile_books

    if not reconcile_books(config, run, wait):
        raise typer.Exit(1)


@_set_aside.command(name="list")
def list_set_aside(
    config: ConfigFile = None, data: Data = None, run: Run = None, as_json: AsJson = False
) -> None:
    """List the frames that were set aside, each with its reason.

    \b
    Example:
      qd-agent set-aside list beamline.yaml
    """
    from qd_agent.books_report import print_set_aside

    print_set_aside(config, data, run, as_json=as_json)


@_set_aside.command()
def retry(
    config: ConfigFile = None, data: Data = None, run: Run = None, frame: Frame = None
) -> None:
    """Have set-aside frames tried anew; the new answer replaces their record in every store.

    A running agent takes them up at once, otherwise the next start does. With CONFIG.yaml,
    wavelengths that contradicted each other are judged by its paths, units and tolerance.

    \b
    Examples:
      qd-agent set-aside retry beamline.yaml
      qd-agent set-aside retry beamline.yaml --run 3f0c --frame 17
    """
    from qd_agent.books_report import retry_set_aside

    retry_set_aside(config, data, run, frame)
