"""`qd-train`: make the model, judge it, simulate patterns."""

from __future__ import annotations

import typer

from qd_agent.core.errors import QdError
from training.augment_cli import augment
from training.build_cli import build
from training.evaluate_cli import evaluate
from training.simulate_cli import simulate
from training.targets_cli import targets

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    help="Makes and judges the model that sizes PbS nanocrystals.\n\n"
    "Everything is simulated from atoms; no measured pattern is used for training.",
    epilog="Examples: `qd-train build --output model` · `qd-train evaluate patterns/ --json` · "
    "`qd-train simulate --diameter 4 --dispersion 0.1 --output dot.xy --plot dot.png`",
)


def main() -> None:
    """Run the command line; user errors are one line and exit code 2."""
    try:
        app()
    except QdError as error:
        typer.secho(f"qd-train: {error}", fg="red", err=True)
        raise SystemExit(2) from None


app.command()(build)
app.command()(evaluate)
app.command()(augment)
app.command()(simulate)
app.command()(targets)
