"""Door to the live page: `serve_dashboard` shows what Redis holds to anybody with a browser.

It is a program beside the agent and knows nothing of it: what it reads is what any other program
could read. Viewers cost the agent nothing, since one thread here reads for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qd_agent.dashboard.settings import DashboardSettings

if TYPE_CHECKING:
    from qd_agent.sinks import RedisConnection, TiledConnection

__all__ = ["DashboardSettings", "serve_dashboard"]


def serve_dashboard(
    settings: DashboardSettings,
    find_redis: Callable[[], RedisConnection],
    prefix: str = "qd",
    *,
    ready: Callable[[str], None] = lambda _: None,
    find_tiled: Callable[[], TiledConnection] | None = None,
    container: str = "qd_agent",
) -> None:
    """Serve the page until SIGTERM or SIGINT.

    Args:
        settings: where it listens, and who may look.
        find_redis: tells where Redis is, which may be away for now; asked again when it was.
        prefix: first part of the agent's keys in Redis.
        find_tiled: tells where Tiled is, for runs that Redis holds no more; None without one.
        container: where Tiled keeps a container for each run.
        ready: called once with the page's address, token included, when it can be opened.

    Raises:
        Mistake: the token's file cannot be used.
        Fatal: the address is taken, or a package that the page needs is not installed.
    """
    from qd_agent.dashboard.archive import Archive  # noqa: PLC0415 - keep the door light
    from qd_agent.dashboard.server import serve  # noqa: PLC0415

    archive = None
    if find_tiled is not None:
        archive = Archive(find_tiled, container, settings.thermometer)
    serve(settings, find_redis, prefix, ready, archive)
