"""`qd-train`: make the model, judge it, simulate patterns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qd_agent.core.errors import QdError
from training.simulate_cli import simulate
from training.targets_cli import targets

if TYPE_CHECKING:
    from training.evaluate import Outcome

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


@app.command()
def evaluate(
    files: Annotated[list[Path], typer.Argument(help="pattern files, or folders of them")],
    model: Annotated[Path | None, typer.Option(help="folder of a model; else the shipped")] = None,
    wavelength: Annotated[
        float | None, typer.Option(help="Å, for 2θ files whose name does not tell one")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
    record: Annotated[
        str, typer.Option(help="write the summary into the model's card under this name")
    ] = "",
) -> None:
    """Size files whose names carry the truth, and compare.

    Names as published: `PbS_Str1.0021_SD10_Avg4.50_SolvTOL_Conc37_noisy30.00.cal`,
    `PbS_synchr_wl0p565483A_4p48nm.xye`.

    Example: `qd-train evaluate patterns/ --wavelength 0.5642`
    """
    from qd_agent.inference import SizerSettings, open_sizer
    from qd_agent.inference.artifact import SHIPPED
    from training.evaluate import evaluate as run
    from training.evaluate import summary

    missing = [str(f) for f in files if not f.exists()]
    if missing:
        raise typer.BadParameter(f"no such file or folder: {', '.join(missing)}")
    outcomes = run(open_sizer(SizerSettings(model=model)), files, wavelength)
    figures = summary(outcomes)
    if as_json:
        rows = [_row(o) for o in outcomes]
        typer.echo(json.dumps({"summary": figures, "files": rows}, indent=2))
    else:
        for outcome in outcomes:
            typer.echo(_line(outcome))
        typer.echo(json.dumps(figures, indent=2))
    if record:
        from training.export import record as write

        write(model or SHIPPED, record, dict(figures))


app.command()(simulate)
app.command()(targets)


def _row(outcome: Outcome) -> dict[str, object]:
    estimate = {} if outcome.estimate is None else outcome.estimate.model_dump(mode="json")
    return {
        "path": str(outcome.path),
        "label_nm": outcome.truth.label_nm,
        "truth_nm": outcome.truth_nm,
        "error": outcome.error,
        **estimate,
    }


def _line(outcome: Outcome) -> str:
    name = f"{outcome.path.name[:56]:56s}"
    estimate = outcome.estimate
    if estimate is None:
        return f"{name} unreadable: {outcome.error}"
    if estimate.diameter_nm is None or estimate.interval_nm is None:
        return f"{name} {estimate.verdict}: {estimate.reason}"
    low, high = estimate.interval_nm
    known = "" if outcome.truth_nm is None else f"  truth {outcome.truth_nm:.2f}"
    return (
        f"{name} {estimate.diameter_nm:5.2f} nm [{low:.2f}, {high:.2f}]  volume-weighted "
        f"{estimate.diameter_volume_nm:.2f}  dispersion {estimate.dispersion:.2f}  share "
        f"{estimate.nanocrystal_fraction:.2f}  misfit {estimate.misfit:.3f}{known}"
    )
