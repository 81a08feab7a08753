"""Door to the pixels: `open_reader` gives a reader that turns references into frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qd_agent.frames.settings import FrameSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from qd_agent.frames.reader import InTiled, Reader

__all__ = ["FrameSettings", "open_reader"]


def open_reader(
    settings: FrameSettings,
    stopping: Callable[[], bool] = lambda: False,
    in_tiled: InTiled | None = None,
) -> Reader:
    """Give a reader for every kind of location; the caller closes it. Opens no file yet.

    Args:
        settings: what may be read, and how long to wait for it.
        stopping: asked while waiting; once it says so, `read` waits no longer.
        in_tiled: gives the pixels of a frame as Tiled has it; raises QdError.
    """
    from qd_agent.frames.reader import Reader  # noqa: PLC0415 - heavy, wanted only here

    return Reader(settings, stopping, in_tiled)
