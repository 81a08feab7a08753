"""Door to the live page: `serve_dashboard` shows what Redis holds to anybody with a browser.

It is a program beside the agent and knows nothing of it: what it reads is what any other program
could read. Viewers cost the agent nothing, since one thread here reads for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qd_agent.dashboard.settings import DashboardSettings

if TYPE_CHECKING:
    from qd_agent.sinks import RedisConnection

__all__ = ["DashboardSettings", "serve_dashboard"]


def serve_dashboard(
    settings: DashboardSettings,
    find_redis: Callable[[], RedisConnection],
    prefix: str = "qd",
    *,
    ready: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve the page until SIGTERM or SIGINT.

    Args:
        settings: where it listens, and who may look.
        find_redis: tells where Redis is, which may be away for now; asked again when it was.
        prefix: first part of the agent's keys in Redis.
        ready: called once with the page's address, token included, when it can be opened.

    Raises:
        Mistake: the token's file cannot be used.
        Fatal: the address is taken, or a package that the page needs is not installed.
    """
    from qd_agent.dashboard.server import serve  # noqa: PLC0415 - keep the door light

    serve(settings, find_redis, prefix, ready)
