"""Door to the documents: `open_source` gives them, `open_router` turns them into frames."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from qd_agent.core.errors import Fatal
from qd_agent.documents.metadata_settings import MetadataSettings
from qd_agent.documents.settings import (
    KINDS,
    KafkaSettings,
    RouterSettings,
    SourceSettings,
    TiledStreamSettings,
    ZmqSettings,
)

if TYPE_CHECKING:
    from qd_agent.core.frame import Declared
    from qd_agent.core.ports import DocumentSource
    from qd_agent.documents.keepsakes import Keepsakes
    from qd_agent.documents.router import Router
    from qd_agent.documents.tiled_stream import TiledDoor

__all__ = [
    "KINDS",
    "KafkaSettings",
    "MetadataSettings",
    "RouterSettings",
    "SourceSettings",
    "TiledStreamSettings",
    "ZmqSettings",
    "judge_again",
    "open_keepsakes",
    "open_router",
    "open_source",
]


def open_source(settings: SourceSettings, tiled: TiledDoor | None = None) -> DocumentSource:
    """Open the transport that `settings` names; the caller closes it.

    Args:
        settings: which transport, and where.
        tiled: the Tiled that the agent uses, for a source of that kind.

    Raises:
        Fatal: the address or a secret cannot be used, or a package is missing.
    """
    if isinstance(settings, KafkaSettings):
        from qd_agent.documents.kafka import KafkaSource  # noqa: PLC0415 - an optional extra

        return KafkaSource(settings)
    if isinstance(settings, TiledStreamSettings):
        from qd_agent.documents.tiled_stream import TiledSource  # noqa: PLC0415 - heavy

        if tiled is None:
            raise Fatal("a source of kind tiled needs the Tiled that the agent uses")
        return TiledSource(settings, tiled)
    from qd_agent.documents.zmq import ZmqSource  # noqa: PLC0415 - heavy, wanted only here

    return ZmqSource(settings)


def open_router(
    settings: RouterSettings, metadata: MetadataSettings | None = None, *, live: bool = True
) -> Router:
    """Give a router; it holds no resources and needs no closing.

    Args:
        settings: which streams and detectors it follows.
        metadata: by which paths documents say what a frame was taken with.
        live: whether documents come as frames are taken; else these are dated by documents alone.
    """
    from qd_agent.documents.router import Router  # noqa: PLC0415 - event_model is heavy

    return Router(settings, time.time if live else None, metadata)


def open_keepsakes() -> Keepsakes:
    """Give what tells which documents are to be kept for a new process."""
    from qd_agent.documents.keepsakes import Keepsakes  # noqa: PLC0415 - event_model is heavy

    return Keepsakes()


def judge_again(declared: Declared, metadata: MetadataSettings) -> Declared:
    """Judge what contradicted itself once more, by the paths and units of now."""
    from qd_agent.documents.judging import look_again  # noqa: PLC0415 - wanted only here

    return look_again(declared, metadata)
