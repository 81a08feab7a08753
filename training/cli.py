"""`qd-train`: make the model, judge it, simulate patterns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from qd_agent.core.errors import QdError
from training.augment_cli import augment
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


@app.command()
def build(
    output: Annotated[Path, typer.Option(help="folder of the model; made when missing")],
    seed: Annotated[int, typer.Option(help="one seed, one model")] = 0,
    steps: Annotated[
        int | None, typer.Option(min=1, help="training steps; the shipped model's when not given")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="cores to use")] = 2,
    resume: Annotated[
        bool, typer.Option("--resume", help="go on from the last checkpoint")
    ] = False,
) -> None:
    """Make a model from nothing: simulate, train, calibrate, write.

    About half an hour on two cores. It can be stopped at any time and taken up with `--resume`.

    Example: `qd-train build --output model --seed 0`
    """
    from rich.progress import Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (*Progress.get_default_columns()[:2], TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[note]}")) as progress:
        task = progress.add_task("tabulating clusters", total=None, note="")
        import torch

        from training.export import export
        from training.train import Schedule, Training

        torch.set_num_threads(threads)
        torch.set_flush_denormal(True)
        schedule = Schedule() if steps is None else Schedule(steps=steps)
        training = Training(seed, schedule)
        output.mkdir(parents=True, exist_ok=True)
        checkpoint = output / "checkpoint.safetensors"
        if resume and checkpoint.exists():
            try:
                training.resume(checkpoint)
            except ValueError as error:
                raise typer.BadParameter(str(error)) from error

        def trained(step: int, loss: float) -> None:
            progress.update(
                task, description="training", total=schedule.steps, completed=step,
                note=f"loss {loss:.3f}",
            )  # fmt: skip
            if step % 200 == 0 and not progress.console.is_terminal:
                typer.echo(f"step {step} of {schedule.steps}, loss {loss:.3f}")

        def exported(what: str, done: int, total: int) -> None:
            progress.update(task, description=what, completed=done, total=total, note="")

        network = training.run(checkpoint, trained)
        training.save(checkpoint)
        card = export(network, output, seed, schedule, exported)
        checkpoint.unlink()
    typer.echo(f"{output}: {card.name} {card.version}")
    typer.echo(json.dumps(card.evaluation, indent=2))


app.command()(evaluate)
app.command()(augment)
app.command()(simulate)
app.command()(targets)
