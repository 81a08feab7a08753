"""`qd-train augment`: the user's own pure patterns become a training and test set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def augment(
    folder: Annotated[
        Path, typer.Argument(help="pure patterns: files, or a folder with a manifest.csv")
    ],
    output: Annotated[Path, typer.Option(help="folder of the set; made when missing")],
    solvent: Annotated[
        list[Path] | None,
        typer.Option(help="measured solvent, may be repeated; synthetic liquids without any"),
    ] = None,
    copies: Annotated[int, typer.Option(min=1, max=10_000, help="made of each pattern")] = 8,
    shares: Annotated[
        str, typer.Option(help="nanocrystals' shares of the area, 0 to 1")
    ] = "1,0.65,0.37,0.15",
    counts: Annotated[
        str, typer.Option(help="mean counts per point of the grid")
    ] = "214,571,2142,14280",
    strain: Annotated[tuple[float, float], typer.Option(help="lattice scale from and to")] = (
        0.9975,
        1.0051,
    ),
    broadening: Annotated[
        float, typer.Option(min=0, max=0.2, help="largest sd of the instrument's Gaussian, 1/Å")
    ] = 0.0,
    held_back: Annotated[
        float, typer.Option(min=0, max=0.45, help="of the pure patterns: for validation, for test")
    ] = 0.15,
    wavelength: Annotated[
        float | None, typer.Option(help="Å, when the pure patterns are over 2θ and none tells it")
    ] = None,
    solvent_wavelength: Annotated[
        float | None, typer.Option(help="Å, when the solvents are over 2θ and none tells it")
    ] = None,
    as_text: Annotated[
        bool, typer.Option("--text", help="one text file for each, instead of one .npz")
    ] = False,
    seed: Annotated[int, typer.Option(help="one seed, one set")] = 0,
) -> None:
    """Strain, broaden, mix with solvents and add counting noise to pure patterns.

    Writes `patterns.npz` and `manifest.csv`, which `qd-train evaluate` reads. The column `split`
    keeps everything that comes from one pure pattern on one side: training, validation or test.

    Example: `qd-train augment mine/ --output set --solvent hexane.xye --solvent-wavelength 0.5642`
    """
    from qd_agent.core.errors import BadFrame
    from training.augment import SPLITS, Recipe, read_clean, write_set
    from training.augment import augment as make
    from training.pattern_files import read_pattern, truth_of

    missing = [str(p) for p in (folder, *(solvent or [])) if not p.exists()]
    if missing:
        raise typer.BadParameter(f"no such file or folder: {', '.join(missing)}")
    if not 0.9 <= strain[0] <= strain[1] <= 1.1:
        raise typer.BadParameter("--strain takes two lattice scales between 0.9 and 1.1, low first")
    recipe = Recipe(
        copies=copies,
        lattice_scale=strain,
        shares=_numbers("--shares", shares, 1.0),
        counts=_numbers("--counts", counts, 1e9),
        broadening=broadening,
        held_back=held_back,
        seed=seed,
    )
    clean = read_clean(folder, wavelength)
    solvents = [
        read_pattern(p, truth_of(p).wavelength or solvent_wavelength) for p in solvent or []
    ]
    siblings = list(make(clean, solvents, recipe))
    if output.exists() and not output.is_dir():
        raise BadFrame(f"{output}: is a file, not a folder to write to")
    manifest = write_set(output, siblings, as_text=as_text)
    of = {s: sum(x.split == s for x in siblings) for s in SPLITS}
    parts = ", ".join(f"{n} {split}" for split, n in of.items())
    typer.echo(f"{manifest}: {len(siblings)} patterns from {len(clean)} pure ones ({parts})")


def _numbers(option: str, text: str, most: float) -> tuple[float, ...]:
    """Numbers above 0, up to `most`, separated by commas."""
    try:
        values = tuple(float(word) for word in text.split(","))
    except ValueError:
        values = ()
    if not values or not all(0.0 < v <= most for v in values):
        raise typer.BadParameter(
            f"{option} takes numbers above 0, up to {most:g}, separated by commas, not {text!r}"
        )
    return values
