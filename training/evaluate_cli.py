"""`qd-train evaluate`: size patterns of known truth, or simulated sets, and judge the answers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from training.evaluate import Outcome
    from training.evaluation_figures import Scored, Tables

SHOWN_FILES = 60
"""With more files only the tables are printed."""


def evaluate(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="pattern files, folders of them, or manifests (.csv, .jsonl)"),
    ] = None,
    model: Annotated[Path | None, typer.Option(help="folder of a model; else the shipped")] = None,
    wavelength: Annotated[
        float | None, typer.Option(help="Å, for 2θ files whose name does not tell one")
    ] = None,
    split: Annotated[str, typer.Option(help="only the manifests' entries of this split")] = "",
    simulated: Annotated[
        int, typer.Option(min=0, help="also size this many patterns of each simulated set")
    ] = 0,
    seed: Annotated[int, typer.Option(help="of the simulated sets")] = 7000,
    plots: Annotated[
        Path | None, typer.Option(help="folder for confusion, reliability, errors, learning (PNG)")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
    record: Annotated[
        str, typer.Option(help="write the summary into the model's card under this name")
    ] = "",
) -> None:
    """Size patterns whose truth is known, and compare.

    The truth is in the names, as published (`PbS_Str1.0021_SD10_Avg4.50_SolvTOL_Conc37_noisy3.cal`,
    `PbS_synchr_wl0p565483A_4p48nm.xye`), or in a manifest: a table with the columns `file` and
    `diameter_nm`, and as far as known `dispersion`, `share`, `counts`, `wavelength`, `group`. A
    folder with a `manifest.csv` is read by it. `--simulated` compares with the physical limit.

    Examples: `qd-train evaluate patterns/ --wavelength 0.5642 --plots figures` ·
    `qd-train evaluate truth.csv --json` · `qd-train evaluate --simulated 1600`
    """
    from qd_agent.inference import SizerSettings, open_sizer
    from qd_agent.inference.artifact import SHIPPED
    from training.evaluate import evaluate as run
    from training.evaluate import summary

    if not files and not simulated:
        raise typer.BadParameter("name files, folders or a manifest, or give --simulated")
    missing = [str(f) for f in files or [] if not f.exists()]
    if missing:
        raise typer.BadParameter(f"no such file or folder: {', '.join(missing)}")
    sizer = open_sizer(SizerSettings(model=model))
    outcomes = run(sizer, files or [], wavelength, split)
    sets = {"files": [o.scored for o in outcomes]} if files else {}
    if simulated:
        sets |= _simulated(sizer, simulated, seed)
    figures = summary(outcomes)
    _print(outcomes, sets, figures, as_json=as_json)
    if plots is not None:
        for path in _draw(plots, sets, (model or SHIPPED)):
            typer.echo(f"{path}: plot", err=as_json)
    if record:
        from training.export import record as write

        write(model or SHIPPED, record, dict(figures) or {n: _tables(s) for n, s in sets.items()})


def _simulated(sizer: object, count: int, seed: int) -> dict[str, list[Scored]]:
    from typing import cast

    from qd_agent.core.ports import Sizer
    from training.simulated_sets import BANDS
    from training.targets import Effort, simulated_sets
    from training.targets_cli import progress_line

    effort = Effort(count, max(2, count // BANDS), count, seed)
    with progress_line() as progress:
        return simulated_sets(cast("Sizer", sizer), effort, progress)


def _tables(scored: list[Scored]) -> dict[str, object]:
    from training.evaluation_figures import by_band, by_group, figures

    return {"all": figures(scored), "groups": by_group(scored), "bands": by_band(scored)}


def _print(
    outcomes: list[Outcome],
    sets: dict[str, list[Scored]],
    figures: dict[str, dict[str, float | int]],
    *,
    as_json: bool,
) -> None:
    from training.evaluation_figures import by_band, by_group

    if as_json:
        answer: dict[str, object] = {"summary": figures, "files": [_row(o) for o in outcomes]}
        answer["sets"] = {name: _tables(scored) for name, scored in sets.items()}
        typer.echo(json.dumps(answer, indent=2))
        return
    for outcome in outcomes if len(outcomes) <= SHOWN_FILES else []:
        typer.echo(_line(outcome))
    for name, scored in sets.items():
        _show(name, {"kind": by_group(scored)} | by_band(scored))
    if "continuous sizes" in sets:
        _show_bound(sets["continuous sizes"])


COLUMNS: dict[str, tuple[str, str]] = {
    "patterns": ("patterns", "d"),
    "sized": ("sized", "d"),
    "class_accuracy": ("right class", ".1%"),
    "mean_error_nm": ("mean error", ".3f"),
    "bias_nm": ("bias", "+.3f"),
    "rmse_nm": ("RMSE", ".3f"),
    "largest_error_nm": ("largest", ".2f"),
    "interval_coverage": ("in 90 %", ".1%"),
    "class_calibration_error": ("ECE", ".3f"),
    "rmse_over_bound": ("RMSE / bound", ".2f"),
}
"""Figure → heading and format."""


def _show(title: str, tables: Tables) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 132)
    for quantity, bands in tables.items():
        used = [c for c in COLUMNS if any(c in f for f in bands.values())]
        table = Table(
            title=f"{title} by {quantity}; errors in nm", box=box.SIMPLE_HEAD, title_justify="left"
        )
        table.add_column(quantity, no_wrap=True)
        for column in used:
            table.add_column(COLUMNS[column][0], justify="right", no_wrap=True)
        for band, f in bands.items():
            cells = (format(f[c], COLUMNS[c][1]) if c in f else "–" for c in used)
            table.add_row(band or "–", *cells)
        console.print(table)


def _show_bound(scored: list[Scored]) -> None:
    """RMSE over the bound: sizes and counts down, shares across."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from training.evaluation_figures import figures
    from training.simulated_rows import bands
    from training.simulated_sets import SHARES

    table = Table(
        title="RMSE / Cramér–Rao bound (bound, nm) by size, counts and share",
        box=box.SIMPLE_HEAD,
        title_justify="left",
    )
    table.add_column("size (nm), counts")
    for share in SHARES:
        table.add_column(f"{share:.0%}", justify="right")
    found = {band: figures(members) for band, members in bands(scored).items()}
    for size, counts in dict.fromkeys((b[0], b[2]) for b in found):
        cells: list[str] = []
        for share in SHARES:
            f = found.get((size, share, counts), {})
            known = "rmse_over_bound" in f
            cells.append(f"{f['rmse_over_bound']:.2f} ({f['bound_nm']:.3f})" if known else "–")
        table.add_row(f"{size[0]:g}–{size[1]:g}, {counts:g}", *cells)
    Console(width=None if sys.stdout.isatty() else 132).print(table)


def _draw(folder: Path, sets: dict[str, list[Scored]], model: Path) -> list[Path]:
    from training.evaluation_plots import LOG_NAME, draw_all, draw_learning

    written: list[Path] = []
    for name, scored in sets.items():
        inside = folder if len(sets) == 1 else folder / name.replace(" ", "_")
        written += draw_all(inside, scored, name)
    log = model / LOG_NAME
    if log.is_file():
        written.append(draw_learning(folder / "learning.png", log))
    return written


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
