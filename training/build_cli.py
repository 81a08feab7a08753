"""`qd-train build`: simulate, train, calibrate, measure, write."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qd_agent.core.errors import Mistake

if TYPE_CHECKING:
    from qd_agent.inference.network import NetworkConfig
    from training.train import Schedule


def build(
    output: Annotated[Path, typer.Option(help="folder of the model; made when missing")],
    seed: Annotated[int, typer.Option(help="one seed, one model")] = 0,
    steps: Annotated[
        int | None, typer.Option(min=1, help="training steps; more on a GPU when not given")
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=2, help="patterns of a step; more on a GPU when not given")
    ] = None,
    wide: Annotated[
        bool, typer.Option("--wide", help="network of 364 000 weights in place of 202 000")
    ] = False,
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

    About an hour on two cores; ten minutes with a large GPU, which goes through eighteen times
    as many patterns. It can be stopped at any time and taken up with `--resume`.
    The learning curve is in `training_log.csv` beside the model.

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
        from training.memory import keep_freed_memory
        from training.own_solvents import read_solvents
        from training.train import Training

        torch.set_flush_denormal(True)
        keep_freed_memory()
        solvents = read_solvents(solvent or [], wavelength)
        used = _device(device)
        schedule, config = planned(used, steps, batch, wide=wide)
        # A thread for each share; on a GPU one draws while the others serve it.
        torch.set_num_threads(max(1, threads // schedule.shares - (used == "cuda")))
        source = PatternSource(seed, solvents=solvents, device=used)
        training = Training(seed, schedule, config, source=source, device=used)
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
        card = export(
            network, output, seed, schedule, exported, solvents=solvents, workers=threads,
            device=_device_name(used),
        )  # fmt: skip
        checkpoint.unlink()
    typer.echo(f"{output}: {card.name} {card.version}")
    typer.echo(json.dumps(card.evaluation, indent=2))


def planned(
    used: str, steps: int | None, batch: int | None, *, wide: bool
) -> tuple[Schedule, NetworkConfig]:
    """How to train which network on a device; steps and batch that are None suit the device."""
    from qd_agent.inference.network import WIDE, NetworkConfig
    from training.train import ON_GPU, Schedule

    usual = ON_GPU if used == "cuda" else Schedule()
    schedule = replace(usual, steps=steps or usual.steps, batch=batch or usual.batch)
    if schedule.batch % schedule.shares or schedule.batch < 2 * schedule.shares:
        raise Mistake(
            f"--batch {batch}: give a multiple of {schedule.shares}, 4 or more; its patterns are "
            f"learned from in {schedule.shares} shares"
        )
    return schedule, WIDE if wide else NetworkConfig()


def _device(wanted: str) -> str:
    import torch

    if wanted not in {"auto", "cpu", "cuda"}:
        raise Mistake(f"--device {wanted}: give auto, cpu or cuda")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise Mistake("--device cuda: there is no GPU that torch can use; leave the option out")
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"


def _device_name(used: str) -> str:
    """Name what a network is trained on, as a card tells it."""
    import torch

    return torch.cuda.get_device_name() if used == "cuda" else used
