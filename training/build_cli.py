"""`qd-train build`: simulate, train, calibrate, measure, write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from qd_agent.core.errors import Mistake


def build(
    output: Annotated[Path, typer.Option(help="folder of the model; made when missing")],
    seed: Annotated[int, typer.Option(help="one seed, one model")] = 0,
    steps: Annotated[
        int | None, typer.Option(min=1, help="training steps; the shipped model's when not given")
    ] = None,
    batch: Annotated[int | None, typer.Option(min=2, help="patterns of a training step")] = None,
    threads: Annotated[int, typer.Option(min=1, help="cores to use")] = 2,
    device: Annotated[
        str, typer.Option(help="auto (a GPU when there is one), cpu, or cuda")
    ] = "auto",
    solvent: Annotated[
        list[Path] | None,
        typer.Option(help="a measured liquid of your own, may be repeated; drawn as background"),
    ] = None,
    wavelength: Annotated[
        float | None, typer.Option(help="Å, for solvent files in 2θ whose name does not tell")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="go on from the last checkpoint")
    ] = False,
) -> None:
    """Make a model from nothing: simulate, train, calibrate, measure, write.

    About an hour on two cores. It can be stopped at any time and taken up with `--resume`. The
    learning curve is in `training_log.csv` beside the model.

    Example: `qd-train build --output model --seed 0 --solvent hexane.xye --wavelength 0.5642`
    """
    checkpoint = output / "checkpoint.safetensors"
    if resume and not checkpoint.exists() and (output / "card.json").exists():
        raise Mistake(
            f"--resume: {output} holds a finished model and no checkpoint to go on from; "
            "give another folder, or leave the option out to make it anew"
        )
    from rich.progress import Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (*Progress.get_default_columns()[:2], TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[note]}")) as progress:
        task = progress.add_task("tabulating clusters", total=None, note="")
        import torch

        from training.dataset import PatternSource
        from training.export import export
        from training.own_solvents import read_solvents
        from training.train import Schedule, Training

        # One core draws patterns meanwhile; a second thread for the network slows both down.
        torch.set_num_threads(max(1, threads - 1))
        torch.set_flush_denormal(True)
        solvents = read_solvents(solvent or [], wavelength)
        given = {"steps": steps, "batch": batch}
        schedule = Schedule(**{n: value for n, value in given.items() if value is not None})
        used = _device(device)
        source = PatternSource(seed, solvents=solvents, device=used)
        training = Training(seed, schedule, source=source, device=used)
        output.mkdir(parents=True, exist_ok=True)
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
        card = export(network, output, seed, schedule, exported, solvents=solvents, workers=threads)
        checkpoint.unlink()
    typer.echo(f"{output}: {card.name} {card.version}")
    typer.echo(json.dumps(card.evaluation, indent=2))


def _device(wanted: str) -> str:
    import torch

    if wanted not in {"auto", "cpu", "cuda"}:
        raise Mistake(f"--device {wanted}: give auto, cpu or cuda")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise Mistake("--device cuda: there is no GPU that torch can use; leave the option out")
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"
