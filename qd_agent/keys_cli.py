"""The command `qd-agent keys`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(keys)


def keys(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the key files go.")],
) -> None:
    """Make the key files of an encrypted connection to a ZMQ publisher (CURVE).

    \b
    Example:
      qd-agent keys /etc/qd-agent/keys
    """
    from qd_agent.documents.curve import make_keys

    for path in make_keys(folder):
        typer.echo(f"{path}  {_whose(path)}")


def _whose(path: Path) -> str:
    from qd_agent.documents.curve import CLIENTS, PUBLISHER

    if path.parent.name == CLIENTS:
        return "for the publisher: it lets in the keys of this folder"
    side = "publisher" if path.stem == PUBLISHER else "agent"
    if path.suffix == ".key_secret":
        return f"for the {side} alone, never to be shown to anybody else"
    return f"the {side}'s public key"
