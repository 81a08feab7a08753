"""`qd-train targets`: the table of targets, measured on a model."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from training.simulated_rows import Progress
    from training.target_rows import Row


def targets(
    reference: Annotated[
        Path | None,
        typer.Option(help="reference data; else `shared/reference` beside the checkout"),
    ] = None,
    model: Annotated[Path | None, typer.Option(help="folder of a model; else the shipped")] = None,
    effort: Annotated[
        float, typer.Option(min=0.02, max=100, help="times the usual number of simulations")
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="of the simulated sets")] = 7000,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Measure every target on one model and say which are met.

    Half an hour on one core. Reference data are read, never written; rows without them say so.

    Example: `qd-train targets --model model --json`
    """
    from qd_agent.inference import SizerSettings, open_refiner, open_sizer
    from training.targets import Effort, measure

    usual = Effort()
    much = Effort(
        centres=max(17, round(usual.centres * effort)),
        per_band=max(2, round(usual.per_band * effort)),
        priors=max(50, round(usual.priors * effort)),
        seed=seed,
    )
    settings = SizerSettings(model=model)
    sizer = open_sizer(settings)
    with progress_line() as progress:
        rows = measure(sizer, open_refiner(settings), reference, much, progress)
    name = f"{sizer.model_name} {sizer.model_version} {sizer.model_sha256[:12]}"
    if as_json:
        answer = {"model": name, "seed": seed, "rows": [row.as_dict() for row in rows]}
        typer.echo(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        show(rows, name)


@contextmanager
def progress_line() -> Generator[Progress]:
    """One line on standard error that says what is being done."""
    from rich.console import Console

    console = Console(stderr=True)
    with console.status("starting") as status:
        yield lambda what, done: status.update(f"{what} {done or ''}")


def show(rows: list[Row], model: str) -> None:
    """Print the table."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    wide = None if sys.stdout.isatty() else 200
    console = Console(width=wide)
    table = Table(title=f"Targets, measured on {model}", box=box.SIMPLE_HEAD, show_lines=False)
    for column in ("row", "published network", "target", "ours", "met", "note"):
        table.add_column(column, overflow="fold")
    for row in rows:
        met = {True: "[green]met[/]", False: "[red]not met[/]", None: "skipped"}[row.met]
        cells = (row.name, row.published, row.target, row.ours)
        table.add_row(*(escape(c) for c in cells), met, escape(row.note))
    console.print(table)
    known = [row for row in rows if row.met is not None]
    console.print(f"{sum(bool(row.met) for row in known)} of {len(known)} rows met")
