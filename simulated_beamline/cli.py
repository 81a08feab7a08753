"""The command `qd-beamline`."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from simulated_beamline.errors import BeamlineError
from simulated_beamline.formats import HELP, FramesAs

if TYPE_CHECKING:
    from simulated_beamline.modes import Common
    from simulated_beamline.publish import Curve
    from simulated_beamline.session import Outlets, ScanRequest

app = typer.Typer(
    name="qd-beamline",
    help="A beamline without X-rays: a real Bluesky RunEngine takes frames of a known truth.",
    epilog="Documents leave over ZMQ (prefix 'raw', safe msgpack). The folder given with --output "
    "gets frames/, detector.poni, mask.npy (1 = masked) and truth.jsonl (for judges).",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

Output = Annotated[Path, typer.Option(help="Folder for frames, PONI, mask and truth.")]
Rate = Annotated[float, typer.Option(help="Frames per second.", min=0.001, max=1000.0)]
Darks = Annotated[int, typer.Option(help="Dark frames before the scan.", min=0)]
Seed = Annotated[int, typer.Option(help="Of all random numbers.", min=0)]
Binning = Annotated[int, typer.Option(help="1 is the full detector; 2 or 4: small frames.")]
Flip = Annotated[bool, typer.Option("--flip-rows", help="Store rows against the PONI's order.")]
Sample = Annotated[str, typer.Option(help="Sample name for the start document.")]
About = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="Write this into the start document; may be repeated. The uid of a dark or background "
        "run, say.",
    ),
]
Zmq = Annotated[str, typer.Option(help="Address to publish documents at (it is bound here).")]
Prefix = Annotated[str, typer.Option(help="First word of every ZMQ message.")]
CurveKey = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Encrypt with this key pair (publisher.key_secret)."),
]
CurveClients = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Let in only the public keys in this folder.")
]
Wait = Annotated[float, typer.Option(help="Seconds to wait for a subscriber; 0: none.", min=0.0)]
Tiled = Annotated[
    str | None, typer.Option(help="Tiled server to write into; its key is in TILED_API_KEY.")
]
Drain = Annotated[
    float, typer.Option(help="Seconds to wait in the end for Tiled to take the rest.", min=0.0)
]
Json = Annotated[Path | None, typer.Option("--json", help="Write the scan's account here.")]
Repeat = Annotated[int, typer.Option(help="Frames per pattern (or rounds of all frames).", min=1)]

As = Annotated[FramesAs, typer.Option("--frames-as", help=HELP)]
PerEvent = Annotated[
    int, typer.Option("--frames-per-event", help="Frames of each event.", min=1, max=1000)
]

ADDRESS = "tcp://127.0.0.1:5578"
FOLDER = Path("beamline-output")


@app.command()
def growth(
    frames: Annotated[int, typer.Option(help="Number of frames.", min=1)] = 60,
    exposure: Annotated[
        float,
        typer.Option(help="Counts of a pixel where the pattern has its mean.", min=0.0, max=1e8),
    ] = 20.0,
    plateau_diameter: Annotated[float, typer.Option(help="Diameter in the end, nm.")] = 6.0,
    share: Annotated[float, typer.Option(help="Nanocrystals' share in the end, 0 to 1.")] = 0.65,
    rate: Rate = 2.0,
    darks: Darks = 3,
    seed: Seed = 1,
    binning: Binning = 1,
    flip_rows: Flip = False,
    sample: Sample = "",
    about: About = None,
    frames_as: As = FramesAs.HDF5,
    frames_per_event: PerEvent = 1,
    output: Output = FOLDER,
    zmq: Zmq = ADDRESS,
    prefix: Prefix = "raw",
    curve_key: CurveKey = None,
    curve_clients: CurveClients = None,
    wait_for_subscriber: Wait = 0.0,
    tiled_uri: Tiled = None,
    drain: Drain = 60.0,
    account: Json = None,
) -> None:
    """Take an in-situ synthesis: solvent, nucleation, growth to a plateau.

    Example: qd-beamline growth --frames 60 --rate 2 --share 0.1 --wait-for-subscriber 60
    """
    from simulated_beamline import modes
    from simulated_beamline.synthesis import Kinetics

    common = _common(
        output,
        rate,
        darks,
        seed,
        binning,
        flip_rows,
        sample,
        frames_as,
        frames_per_event,
        _pairs(about),
    )
    outlets = _outlets(
        zmq, prefix, _curve(curve_key, curve_clients), wait_for_subscriber, tiled_uri, drain
    )

    def prepare() -> ScanRequest:
        kinetics = Kinetics(plateau_diameter_nm=plateau_diameter, plateau_share=share)
        return modes.growth(common, kinetics, frames, exposure)

    _take(prepare, outlets, account)


@app.command()
def patterns(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of .xy and .xye files.")],
    unit: Annotated[
        str, typer.Option(help="First column: 2th_deg, q_A^-1 or q_nm^-1.")
    ] = "2th_deg",
    wavelength: Annotated[
        float | None, typer.Option(help="Å, of all files; else manifest or name says it.")
    ] = None,
    exposure: Annotated[
        float, typer.Option(help="Mean counts of a pixel.", min=0.0, max=1e8)
    ] = 5000.0,
    repeat: Repeat = 1,
    rate: Rate = 2.0,
    darks: Darks = 1,
    seed: Seed = 1,
    binning: Binning = 1,
    flip_rows: Flip = False,
    sample: Sample = "",
    about: About = None,
    frames_as: As = FramesAs.HDF5,
    frames_per_event: PerEvent = 1,
    output: Output = FOLDER,
    zmq: Zmq = ADDRESS,
    prefix: Prefix = "raw",
    curve_key: CurveKey = None,
    curve_clients: CurveClients = None,
    wait_for_subscriber: Wait = 0.0,
    tiled_uri: Tiled = None,
    drain: Drain = 60.0,
    account: Json = None,
) -> None:
    """Take recorded one-dimensional patterns as detector frames, one frame a pattern.

    Pixels outside a pattern's Q range carry 4294967295 (no data). The wavelength comes from
    --wavelength, else manifest.json ({"file": {"wavelength": 1.5406}}), else a name such as
    PbS_wl1p5406_1.xy.

    Example: qd-beamline patterns measured/ --rate 1 --wait-for-subscriber 60
    """
    from simulated_beamline import modes

    common = _common(
        output,
        rate,
        darks,
        seed,
        binning,
        flip_rows,
        sample,
        frames_as,
        frames_per_event,
        _pairs(about),
    )
    outlets = _outlets(
        zmq, prefix, _curve(curve_key, curve_clients), wait_for_subscriber, tiled_uri, drain
    )
    _take(
        lambda: modes.patterns(
            common, folder, unit=unit, wavelength=wavelength, repeat=repeat, counts=exposure
        ),
        outlets,
        account,
    )


@app.command()
def frames(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of TIFF or HDF5 frames.")],
    poni: Annotated[Path | None, typer.Option(help="PONI; else the only one in DIR.")] = None,
    mask: Annotated[Path | None, typer.Option(help="Mask, non-zero = masked.")] = None,
    repeat: Repeat = 1,
    rate: Rate = 2.0,
    flip_rows: Flip = False,
    sample: Sample = "",
    about: About = None,
    frames_as: As = FramesAs.HDF5,
    frames_per_event: PerEvent = 1,
    output: Output = FOLDER,
    zmq: Zmq = ADDRESS,
    prefix: Prefix = "raw",
    curve_key: CurveKey = None,
    curve_clients: CurveClients = None,
    wait_for_subscriber: Wait = 0.0,
    tiled_uri: Tiled = None,
    drain: Drain = 60.0,
    account: Json = None,
) -> None:
    """Replay recorded frames as a scan, with their own shape and dtype.

    Example: qd-beamline frames recorded/ --poni recorded/CeO2.poni --repeat 10
    """
    from simulated_beamline import modes

    common = _common(
        output, rate, 0, 1, 1, flip_rows, sample, frames_as, frames_per_event, _pairs(about)
    )
    outlets = _outlets(
        zmq, prefix, _curve(curve_key, curve_clients), wait_for_subscriber, tiled_uri, drain
    )
    _take(lambda: modes.frames(common, folder, poni, mask, repeat), outlets, account)


def _pairs(about: list[str] | None) -> dict[str, object]:
    """Read KEY=VALUE; a value that is JSON is what it says, any other is text."""
    found: dict[str, object] = {}
    for pair in about or ():
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise typer.BadParameter(f"--about {pair!r}: expected KEY=VALUE")
        try:
            found[key] = json.loads(value)
        except ValueError:
            found[key] = value
    return found


def _common(*values: object) -> Common:
    from simulated_beamline.modes import Common

    try:
        return Common(*values)  # pyright: ignore[reportArgumentType] - typer has checked them
    except BeamlineError as error:
        _fail(str(error))


def _curve(key: Path | None, clients: Path | None) -> Curve | None:
    from simulated_beamline.publish import Curve

    if key is None:
        if clients is not None:
            raise typer.BadParameter("--curve-clients belongs to --curve-key")
        return None
    return Curve(key, clients)


def _outlets(
    zmq: str,
    prefix: str,
    curve: Curve | None,
    wait: float,
    tiled_uri: str | None,
    drain: float,
) -> Outlets:
    from simulated_beamline.session import Outlets

    return Outlets(
        zmq=zmq,
        prefix=prefix,
        curve=curve,
        wait_for_subscriber_s=wait,
        tiled_uri=tiled_uri,
        tiled_api_key=os.environ.get("TILED_API_KEY"),
        drain_s=drain,
    )


def _take(prepare: Callable[[], ScanRequest], outlets: Outlets, account: Path | None) -> None:
    """Prepare and take a scan with a progress bar; a mistake is one line and exit code 2."""
    logging.basicConfig(level=logging.WARNING, format="qd-beamline: %(message)s")
    # The RunEngine logs a failed plan with its traceback; here the one line below says it.
    logging.getLogger("bluesky").setLevel(logging.CRITICAL)
    try:
        summary = _with_progress(prepare(), outlets)
        if account is not None:
            account.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    except BeamlineError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename or 'output'}: {error.strerror or error}")
    else:
        typer.echo(_sentence(summary))
        if summary["exit_status"] != "success":
            raise typer.Exit(2)


def _fail(text: str) -> NoReturn:
    typer.echo(f"qd-beamline: {text}", err=True)
    raise typer.Exit(2)


def _with_progress(request: ScanRequest, outlets: Outlets) -> dict[str, object]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from simulated_beamline.session import run

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as progress:
        tasks = {
            stream: progress.add_task(stream, total=total)
            for stream, total in (("dark", request.darks), ("primary", request.frames))
            if total
        }
        return run(request, outlets, lambda stream: progress.advance(tasks[stream]))


def _sentence(summary: dict[str, object]) -> str:
    tiled = summary["tiled"]
    into_tiled = ""
    if isinstance(tiled, dict):
        into_tiled = f", {tiled['written']} documents in Tiled, {tiled['not_written']} not"
    return (
        f"{summary['mode']}: {summary['frames_taken']} frames and {summary['darks_taken']} darks "
        f"in {summary['seconds']} s ({summary['exit_status']}){into_tiled}; "
        f"files in {summary['output']}"
    )


def main() -> None:
    """Run the command."""
    app()
