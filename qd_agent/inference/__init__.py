"""Door to the sizes: `open_sizer` loads an artifact and answers patterns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qd_agent.inference.settings import SizerSettings

if TYPE_CHECKING:
    from qd_agent.inference.sizer import NetworkSizer

__all__ = ["SizerSettings", "open_sizer"]


def open_sizer(settings: SizerSettings | None = None) -> NetworkSizer:
    """Load the model; takes seconds, because it loads torch.

    Raises:
        Fatal: the model is missing, incomplete or not what its card says.
    """
    from qd_agent.inference.sizer import (  # noqa: PLC0415 - torch: only those who size wait for it
        NetworkSizer,
    )

    return NetworkSizer.open(settings or SizerSettings())
