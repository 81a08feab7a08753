"""The embedded Tiled server's own process: `python -m qd_agent.embedded.tiled_server`.

Settings come from the environment: QD_EMBEDDED_TILED (JSON: folder, readable, ready_file) and
TILED_SINGLE_USER_API_KEY. In the folder: catalog.db (SQLite), data/ (arrays), tables.db (tables).
"""

from __future__ import annotations

import asyncio
import copy
import json
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from qd_agent.embedded.server import write_private

if TYPE_CHECKING:
    from fastapi import FastAPI


UPDATES_KEPT_S, SEQUENCES_KEPT_S = 300, 30 * 86_400
"""How long, s, updates of what is written can be had, and how long their numbers go on."""


class Settings(TypedDict):
    """What `start_tiled` sends."""

    folder: str
    readable: list[str]
    ready_file: str


def main() -> int:
    """Serve until SIGTERM."""
    from sqlalchemy.exc import DatabaseError  # noqa: PLC0415 - see `_application`

    settings: Settings = json.loads(os.environ["QD_EMBEDDED_TILED"])
    folder = Path(settings["folder"])
    try:
        app = _application(folder, settings["readable"], os.environ["TILED_SINGLE_USER_API_KEY"])
    except DatabaseError as exc:
        # The last line of the log is what the user gets to see.
        print(f"{folder / 'catalog.db'} cannot be used: {exc.orig}", file=sys.stderr)  # noqa: T201
        return 1
    _serve(app, folder, Path(settings["ready_file"]))
    return 0


def _application(folder: Path, readable: list[str], api_key: str) -> FastAPI:
    from bluesky_tiled_plugins.exporters import json_seq_exporter  # noqa: PLC0415 - seconds
    from tiled.catalog import from_uri  # noqa: PLC0415
    from tiled.config import Authentication  # noqa: PLC0415
    from tiled.media_type_registration import (  # noqa: PLC0415
        default_serialization_registry,
    )
    from tiled.server.app import build_app  # noqa: PLC0415

    # Without this exporter `run.documents()` is refused (406).
    default_serialization_registry.register("BlueskyRun", "application/json-seq", json_seq_exporter)
    catalog_uri = f"sqlite:///{folder / 'catalog.db'}"
    data = folder / "data"
    data.mkdir(exist_ok=True)
    _initialize(catalog_uri)
    catalog = from_uri(
        catalog_uri,
        writable_storage=[str(data), f"sqlite:///{folder / 'tables.db'}"],
        readable_storage=readable,
        # Without it nobody can follow a run while it is written.
        cache_config={"uri": "memory", "data_ttl": UPDATES_KEPT_S, "seq_ttl": SEQUENCES_KEPT_S},
    )
    return build_app(catalog, authentication=Authentication(single_user_api_key=api_key))


def _initialize(catalog_uri: str) -> None:
    """Make the catalog's tables when they are not there.

    The same as `tiled catalog init --if-not-exists`, which Tiled would run as one more process and
    which would import everything a second time.
    """
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415
    from tiled.alembic_utils import (  # noqa: PLC0415
        UninitializedDatabase,
        check_database,
        stamp_head,
    )
    from tiled.catalog.alembic_constants import (  # noqa: PLC0415
        ALEMBIC_DIR,
        ALEMBIC_INI_TEMPLATE_PATH,
    )
    from tiled.catalog.core import (  # noqa: PLC0415
        ALL_REVISIONS,
        REQUIRED_REVISION,
        initialize_database,
    )
    from tiled.utils import ensure_specified_sql_driver  # noqa: PLC0415

    uri = ensure_specified_sql_driver(catalog_uri)

    async def is_new() -> bool:
        engine = create_async_engine(uri)
        try:
            await check_database(engine, REQUIRED_REVISION, ALL_REVISIONS)
        except UninitializedDatabase:
            await initialize_database(engine)
            return True
        finally:
            await engine.dispose()
        return False

    if asyncio.run(is_new()):
        stamp_head(Path(ALEMBIC_INI_TEMPLATE_PATH), Path(ALEMBIC_DIR), uri)


def _serve(app: FastAPI, folder: Path, ready_file: Path) -> None:
    import uvicorn  # noqa: PLC0415

    class Server(uvicorn.Server):
        """Says where it listens once it does."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started and sockets:
                port = sockets[0].getsockname()[1]
                write_private(ready_file, json.dumps({"port": port}))

    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        log_config=_logging(folder / "access.log"),
        timeout_graceful_shutdown=3,
    )
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listening:
        Server(config).run(sockets=[listening])


def _logging(access_log: Path) -> dict[str, Any]:
    """Tiled's own logging, with the requests in a file of limited size and no colours."""
    from tiled.server.logging_config import LOGGING_CONFIG  # noqa: PLC0415

    config: dict[str, Any] = copy.deepcopy(LOGGING_CONFIG)
    access = config["handlers"]["access"]
    del access["stream"]
    access |= {
        "class": "logging.handlers.RotatingFileHandler",
        "filename": str(access_log),
        "maxBytes": 10_000_000,
        "backupCount": 2,
    }
    for formatter in config["formatters"].values():
        formatter["use_colors"] = False
    return config


if __name__ == "__main__":
    sys.exit(main())
