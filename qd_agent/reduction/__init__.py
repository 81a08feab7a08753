"""Door to the patterns: `open_reducer` gives a reducer that integrates frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qd_agent.reduction.settings import ReductionSettings

if TYPE_CHECKING:
    from qd_agent.reduction.reducer import AzimuthalReducer

__all__ = ["ReductionSettings", "open_reducer"]


def open_reducer(settings: ReductionSettings) -> AzimuthalReducer:
    """Open PONI, mask and dark, and give the reducer (pyFAI is imported here, in seconds).

    Raises:
        Fatal: PONI, mask or dark cannot be used; the message names it.
    """
    from qd_agent.reduction.reducer import AzimuthalReducer  # noqa: PLC0415 - pyFAI is heavy

    return AzimuthalReducer(settings)
