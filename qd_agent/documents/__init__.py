"""Door to the documents: `open_source` gives them, `open_router` turns them into frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qd_agent.documents.settings import RouterSettings, SourceSettings, ZmqSettings

if TYPE_CHECKING:
    from qd_agent.core.ports import DocumentSource
    from qd_agent.documents.router import Router

__all__ = ["RouterSettings", "SourceSettings", "ZmqSettings", "open_router", "open_source"]


def open_source(settings: SourceSettings) -> DocumentSource:
    """Open the transport that `settings` names; the caller closes it.

    Raises:
        Fatal: the address cannot be used.
    """
    from qd_agent.documents.zmq import ZmqSource  # noqa: PLC0415 - heavy, wanted only here

    return ZmqSource(settings)


def open_router(settings: RouterSettings) -> Router:
    """Give a router; it holds no resources and needs no closing."""
    from qd_agent.documents.router import Router  # noqa: PLC0415 - event_model is heavy

    return Router(settings)
