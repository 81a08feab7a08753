"""The command line: `qd-agent`. Every command imports what it needs when it runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from qd_agent import __version__
from qd_agent.books_cli import register as register_books
from qd_agent.core.errors import Mistake, QdError
from qd_agent.dashboard_cli import register as register_dashboard
from qd_agent.keys_cli import register as register_keys
from qd_agent.replay_cli import register as register_replay

app = typer.Typer(
    name="qd-agent",
    help="Size PbS quantum dots from the live documents of a Bluesky RunEngine.",
    epilog="First time here? Try:  qd-agent demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

register_books(app)
register_keys(app)
register_dashboard(app)
register_replay(app)

_USER_MISTAKE, _FATAL = 2, 1

ConfigFile = Annotated[
    Path, typer.Argument(metavar="CONFIG.yaml", help="The agent's configuration.", dir_okay=False)
]


def main() -> None:
    """Run a command; an error that a user can mend is one line, without a traceback."""
    try:
        app()
    except Mistake as error:
        _stop(str(error), _USER_MISTAKE)
    except QdError as error:
        _stop(f"qd-agent: {error}", _FATAL)


def single_threaded() -> None:
    """Keep linear algebra on one thread; to be called before numpy is imported.

    The matrices of one pattern are small: more threads wait for each other, and on a busy machine
    a pattern takes a second instead of a tenth.
    """
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")


def _end_at_once() -> None:
    """End the process, all of whose work is done and closed.

    Python would first take torch, pyarrow and the rest apart, which takes seconds; whoever sent
    SIGTERM may lose patience.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _stop(text: str, code: int) -> NoReturn:
    sys.stderr.write(text + "\n")
    raise SystemExit(code)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"qd-agent {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_print_version, is_eager=True),
    ] = False,
) -> None: ...


@app.command()
def run(config: ConfigFile) -> None:
    """Size every frame that a RunEngine announces, until stopped (SIGTERM or Ctrl-C).

    Without redis.url and tiled.uri in the configuration, a Redis and a Tiled server are
    started on loopback under the data folder and stopped again with the agent.

    \b
    Example:
      qd-agent run deploy/examples/beamline.yaml
    """
    single_threaded()
    from qd_agent.config import load_config
    from qd_agent.daemon import run_daemon

    run_daemon(load_config(config))
    _end_at_once()


@app.command()
def check(
    config: ConfigFile,
    read_back: Annotated[
        str | None,
        typer.Option(metavar="RUN_UID", help="Also read one frame of this run through Tiled."),
    ] = None,
) -> None:
    """Name every mistake in a configuration, and prove that all it names can be opened.

    Doors that it leaves open to others are warned of, with the remedy.

    \b
    Example:
      qd-agent check deploy/examples/beamline.yaml
    """
    from qd_agent.check import check_config

    findings = check_config(config, read_back)
    for finding in findings:
        typer.echo(f"{finding.grade:<4}  {finding.name}: {finding.text}")
    if not all(finding.passed for finding in findings):
        raise typer.Exit(_USER_MISTAKE)


@app.command()
def size(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Text files: x, intensity[, sigma].")
    ],
    wavelength: Annotated[
        float | None,
        typer.Option(help="X-ray wavelength, Å; without it the name's token counts (wl0p5655A)."),
    ] = None,
    unit: Annotated[
        str, typer.Option(help="What the first column is: 2th_deg, q_A^-1 or q_nm^-1.")
    ] = "2th_deg",
    json_lines: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a line instead of a table.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="OUT.png", help="Draw data, explaining pattern and residual."),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Model folder instead of the shipped one.")
    ] = None,
    resolution: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=0.05,
            metavar="1/Å",
            help="Standard deviation by which the instrument broadens a sharp line.",
        ),
    ] = 0.0,
    refine: Annotated[
        bool,
        typer.Option("--refine", help="Fit the full Debye model from the network's answer."),
    ] = False,
    start: Annotated[
        float | None,
        typer.Option(metavar="NM", help="With --refine: start here, also where no size is given."),
    ] = None,
    free: Annotated[
        bool, typer.Option("--free", help="With --refine: no priors on dispersion and B.")
    ] = False,
    solvent: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --refine: a measured solvent, scaled by the fit."),
    ] = None,
) -> None:
    """Size recorded one-dimensional patterns with the same path as live frames.

    With --refine, each size is followed by a least-squares fit of the full Debye model (half a
    second to a few), with standard errors, Rwp and, with --plot, data, model and residual.

    \b
    Examples:
      qd-agent size sample.xye --wavelength 0.5655
      qd-agent size sample.xye --wavelength 0.5655 --refine --plot fit.png
      qd-agent size *.xy --unit q_A^-1 --json --plot sizes.png
    """
    single_threaded()
    from qd_agent.refining import RefineRequest
    from qd_agent.report import print_answers, print_refinements

    if unit not in ("2th_deg", "q_A^-1", "q_nm^-1"):
        raise typer.BadParameter(f"{unit!r} is none of 2th_deg, q_A^-1, q_nm^-1")
    if wavelength is not None and not 0.0 < wavelength < 100.0:
        raise typer.BadParameter(f"a wavelength of {wavelength} Å makes no sense")
    if not refine and (start is not None or free or solvent is not None):
        raise typer.BadParameter("--start, --free and --solvent belong to --refine")
    if start is not None and not 0.0 < start < 100.0:
        raise typer.BadParameter(f"a start at {start} nm makes no sense")
    if refine:
        request = RefineRequest(start, free, solvent)
        unread = print_refinements(
            files, unit, wavelength, request, as_json=json_lines, plot=plot, model=model,
            resolution=resolution,
        )  # fmt: skip
    else:
        unread = print_answers(
            files, unit, wavelength, as_json=json_lines, plot=plot, model=model,
            resolution=resolution,
        )  # fmt: skip
    if unread:
        raise typer.Exit(_USER_MISTAKE)


@app.command()
def status(
    config: Annotated[
        Path | None, typer.Argument(metavar="CONFIG.yaml", help="The agent's configuration.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Data folder of an agent with embedded servers."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show the health of running agents, as they report it to Redis.

    Exit code 0: at least one agent is alive; 1: none is.

    \b
    Examples:
      qd-agent status beamline.yaml
      qd-agent status --data qd-data
    """
    from qd_agent.report import print_status

    if not print_status(config, data, as_json=as_json):
        raise typer.Exit(1)


@app.command()
def demo(
    frames: Annotated[int, typer.Option(min=4, help="Frames of the synthesis.")] = 60,
    rate: Annotated[float, typer.Option(min=0.1, max=50.0, help="Frames a second.")] = 2.0,
    headless: Annotated[
        bool, typer.Option("--headless", help="Plain lines instead of a live table.")
    ] = False,
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json", metavar="FILE", help="Write the summary here, with the stores' addresses."
        ),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave agent and servers running until Ctrl-C.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where frames, books and plot go [default: temporary]."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the simulated synthesis.")] = 1,
    dashboard: Annotated[
        bool, typer.Option("--dashboard/--no-dashboard", help="Serve the live page meanwhile.")
    ] = True,
) -> None:
    """A synthesis, a beamline and the agent on this machine, with the truth beside each size.

    Starts the simulated beamline and the agent as separate processes, ends with a summary and a
    plot, and fails if any frame is unaccounted for.

    \b
    Example:
      qd-agent demo --frames 60 --rate 2 --json summary.json
    """
    from qd_agent.demo import DemoOptions, run_demo

    options = DemoOptions(frames, rate, headless, json_file, keep, output, seed, dashboard)
    if not run_demo(options):
        raise typer.Exit(1)
