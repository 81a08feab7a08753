"""`qd-train simulate`: one pattern of an ensemble, written and drawn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from qd_agent.core.pattern import Float


def simulate(
    diameter: Annotated[float, typer.Option(min=0.5, max=15, help="mean diameter, nm")],
    output: Annotated[Path, typer.Option(help="text file: Q in 1/Å and intensity of mean 1")],
    dispersion: Annotated[
        float, typer.Option(min=0.005, max=0.6, help="relative sd of the lognormal")
    ] = 0.1,
    wavelength: Annotated[float, typer.Option(min=0.1, max=2.0, help="Å")] = 0.1839,
    plot: Annotated[Path | None, typer.Option(help="also draw it (PNG, PDF, SVG)")] = None,
) -> None:
    """Simulate the pattern of an ensemble on the published grid, without background or noise.

    Example: `qd-train simulate --diameter 4 --dispersion 0.1 --output dot.xy --plot dot.png`
    """
    import numpy as np

    from qd_agent.core.pattern import PUBLISHED_GRID
    from training.simulation import NanocrystalSimulator

    q = PUBLISHED_GRID.values()
    simulator = NanocrystalSimulator(q, wavelength, max_diameter_nm=max(12.0, 2.0 * diameter))
    pattern = simulator.intensity(diameter, dispersion)
    number, volume = simulator.averages(diameter, dispersion)
    title = (
        f"PbS, number average {number:.3f} nm, volume-weighted {volume:.3f} nm, "
        f"dispersion {dispersion:g}, wavelength {wavelength:g} Å"
    )
    np.savetxt(
        output, np.column_stack([q, pattern]), fmt=("%.4f", "%.6e"),
        header=f"{title}\nQ (1/Å), intensity (mean 1)", encoding="utf-8",
    )  # fmt: skip
    typer.echo(f"{output}: {title}")
    if plot is not None:
        _draw(plot, q, pattern, title)


def _draw(path: Path, q: Float, pattern: Float, title: str) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 4.5), layout="constrained")
    axes.plot(q, pattern, linewidth=1.0)
    axes.set(xlabel="Q (1/Å)", ylabel="intensity (mean 1)", title=title)
    axes.title.set_fontsize(9)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
    typer.echo(f"{path}: plot")
