"""Door to the documents: `open_source` gives them, `open_router` turns them into frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qd_agent.documents.settings import (
    KINDS,
    KafkaSettings,
    RouterSettings,
    SourceSettings,
    ZmqSettings,
)

if TYPE_CHECKING:
    from qd_agent.core.ports import DocumentSource
    from qd_agent.documents.router import Router

__all__ = [
    "KINDS",
    "KafkaSettings",
    "RouterSettings",
    "SourceSettings",
    "ZmqSettings",
    "open_router",
    "open_source",
]


def open_source(settings: SourceSettings) -> DocumentSource:
    """Open the transport that `settings` names; the caller closes it.

    Raises:
        Fatal: the address or a secret cannot be used, or a package is missing.
    """
    if isinstance(settings, KafkaSettings):
        from qd_agent.documents.kafka import KafkaSource  # noqa: PLC0415 - an optional extra

        return KafkaSource(settings)
    from qd_agent.documents.zmq import ZmqSource  # noqa: PLC0415 - heavy, wanted only here

    return ZmqSource(settings)


def open_router(settings: RouterSettings) -> Router:
    """Give a router; it holds no resources and needs no closing."""
    from qd_agent.documents.router import Router  # noqa: PLC0415 - event_model is heavy

    return Router(settings)
