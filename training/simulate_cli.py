"""`qd-train simulate`: one pattern of an ensemble, written and drawn."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qd_agent.core.errors import Mistake
from training.shapes import Shape

if TYPE_CHECKING:
    from qd_agent.core.pattern import Float

LARGEST_NM = 24.0
"""Clusters are made up to this diameter; the tail of a wide lognormal beyond it is cut off."""


def simulate(
    diameter: Annotated[
        float,
        typer.Option(min=0.5, max=15, help="mean diameter, nm; of the sphere of equal volume"),
    ],
    output: Annotated[Path, typer.Option(help="text file: Q in 1/Å and intensity of mean 1")],
    dispersion: Annotated[
        float, typer.Option(min=0.005, max=0.6, help="relative sd of the lognormal")
    ] = 0.1,
    shape: Annotated[Shape, typer.Option(help="outer shape of every nanocrystal")] = Shape.SPHERE,
    strain: Annotated[
        float, typer.Option(min=-0.05, max=0.05, help="relative change of all distances")
    ] = 0.0,
    elongation: Annotated[
        float,
        typer.Option(min=-0.05, max=0.05, help="rhombohedral: relative lengthening of [111]"),
    ] = 0.0,
    b_lead: Annotated[float, typer.Option(min=0, max=20, help="B of Pb, Å²")] = 1.32,
    b_sulfur: Annotated[float, typer.Option(min=0, max=20, help="B of S, Å²")] = 1.49,
    wavelength: Annotated[float, typer.Option(min=0.1, max=2.0, help="Å")] = 0.1839,
    share: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="nanocrystals' share of the area; a random liquid the rest"
        ),
    ] = 1.0,
    counts: Annotated[
        float | None, typer.Option(min=0.1, max=1e9, help="mean counts a point; no noise without")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="of the liquid and the noise")] = 0,
    plot: Annotated[Path | None, typer.Option(help="also draw it (PNG, PDF, SVG)")] = None,
) -> None:
    """Simulate the pattern of an ensemble of PbS nanocrystals on the published grid.

    Pure nanocrystals without noise, unless `--share` or `--counts` ask for more.

    Examples: `qd-train simulate --diameter 4 --dispersion 0.1 --output dot.xy --plot dot.png` ·
    `qd-train simulate --diameter 6 --shape octahedron --strain 0.002 --share 0.2 --counts 2000
    --output weak.xy`
    """
    import numpy as np

    from qd_agent.core.pattern import PUBLISHED_GRID
    from training.background import liquid_background
    from training.simulation import NanocrystalSimulator

    for path in (output, plot):
        if path is not None and not path.parent.is_dir():
            raise Mistake(f"{path}: there is no folder {path.parent}; make it first")
    q = PUBLISHED_GRID.values()
    # Scattering weighs by D⁶, which moves the tail of a lognormal up by six of its variances.
    width = math.sqrt(math.log1p(dispersion**2))
    largest = min(LARGEST_NM, max(6.0, diameter * math.exp(4.0 * width + 6.0 * width**2)))
    simulator = NanocrystalSimulator(q, wavelength, largest, shape, elongation)
    pattern = simulator.intensity(diameter, dispersion, 1.0 + strain, b_lead, b_sulfur)
    rng = np.random.default_rng(seed)
    pattern = share * pattern + (1.0 - share) * liquid_background(q, rng)
    if counts is not None:
        pattern = rng.poisson(counts * pattern) / counts
    number, volume = simulator.averages(diameter, dispersion)
    title = (
        f"PbS {shape.value.replace('_', ' ')}, number average {number:.3f} nm, volume-weighted "
        f"{volume:.3f} nm, dispersion {dispersion:g}, wavelength {wavelength:g} Å, strain "
        f"{strain:g}, elongation {elongation:g}, B(Pb) {b_lead:g}, B(S) {b_sulfur:g} Å², "
        f"share {share:g}"
    )
    title += "" if counts is None else f", {counts:g} counts a point, seed {seed}"
    _write(output, q, pattern, title)
    typer.echo(f"{output}: {title}")
    if plot is not None:
        _draw(plot, q, pattern, title)


def _write(path: Path, q: Float, pattern: Float, title: str) -> None:
    import numpy as np

    header = f"{title}\nQ (1/Å), intensity (mean 1)"
    table = np.column_stack([q, pattern])
    try:
        np.savetxt(path, table, fmt=("%.4f", "%.6e"), header=header, encoding="utf-8")
    except OSError as error:
        raise Mistake(f"{path}: cannot be written ({error.strerror or error})") from error


def _draw(path: Path, q: Float, pattern: Float, title: str) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 4.5), layout="constrained")
    axes.plot(q, pattern, linewidth=1.0)
    axes.set(xlabel="Q (1/Å)", ylabel="intensity (mean 1)")
    axes.set_title(title, fontsize=9, wrap=True)
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:  # ValueError: an ending that is no known format
        raise Mistake(f"{path}: cannot be drawn ({error})") from error
    finally:
        pyplot.close(figure)
    typer.echo(f"{path}: plot")
