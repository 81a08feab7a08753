"""The commands for people who watch: `dashboard` and `watch`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[
    Path | None, typer.Argument(metavar="CONFIG.yaml", help="The agent's configuration.")
]
Data = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Data folder of an agent with embedded servers."),
]
Target = Annotated[
    float | None, typer.Option(metavar="NM", min=0.1, max=100.0, help="Wanted diameter, nm.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(dashboard)
    app.command()(watch)


def dashboard(
    config: ConfigFile = None,
    data: Data = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen at [default: 127.0.0.1].")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port; 0: any free one [default: 8060].")
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File with the token that viewers need."),
    ] = None,
    prefix: Annotated[
        str | None, typer.Option(metavar="/PATH", help="Path below which a proxy shows the page.")
    ] = None,
    target: Target = None,
) -> None:
    """Serve the live page: size, growth and trust at a glance, in any browser.

    It reads Redis, and runs that Redis holds no more from Tiled; it writes nothing. It listens on
    loopback without a token; at any other address viewers need one, which is in the link that is
    printed.

    \b
    Examples:
      qd-agent dashboard beamline.yaml
      qd-agent dashboard beamline.yaml --host 0.0.0.0 --token-file dashboard.token
    """
    from pydantic import ValidationError

    from qd_agent.config import load_config
    from qd_agent.core.errors import Mistake
    from qd_agent.dashboard import DashboardSettings, serve_dashboard
    from qd_agent.whereabouts import where_redis_is, where_tiled_is

    base, container = DashboardSettings(), "qd_agent"
    if config is not None:
        loaded = load_config(config)
        base, container = loaded.dashboard, loaded.tiled.container
    given = {
        "host": host,
        "port": port,
        "token_file": token_file,
        "prefix": prefix,
        "target_nm": target,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    try:
        settings = DashboardSettings.model_validate({**base.model_dump(), **changes})
    except ValidationError as error:
        found = error.errors(include_url=False)[0]
        raise Mistake(f"--{found['loc'][0]}: {found['msg']}") from None
    _, keys = where_redis_is(config, data)
    serve_dashboard(
        settings,
        lambda: where_redis_is(config, data)[0],
        keys,
        ready=lambda address: typer.echo(f"dashboard at {address}   (Ctrl-C ends it)"),
        find_tiled=lambda: where_tiled_is(config, data)[0],
        container=container,
    )


def watch(
    config: ConfigFile = None,
    data: Data = None,
    target: Target = None,
    once: Annotated[bool, typer.Option("--once", help="Print once, and end.")] = False,
) -> None:
    """Show the newest run in this terminal: size, growth, freshness, and a sparkline of sizes.

    \b
    Examples:
      qd-agent watch beamline.yaml --target 5.5
      qd-agent watch --data qd-data --once
    """
    from qd_agent.dashboard.store import RunStore
    from qd_agent.sinks.redis_link import connect
    from qd_agent.watch import watch as show
    from qd_agent.whereabouts import where_redis_is

    _, keys = where_redis_is(config, data)
    show(
        lambda: RunStore(lambda: connect(where_redis_is(config, data)[0]), keys), target, once=once
    )
