"""Door to the patterns: `open_reducers` gives what turns frames into patterns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from qd_agent.reduction.settings import DetectorSettings, ReductionSettings, StripSettings

if TYPE_CHECKING:
    from qd_agent.reduction.detectors import Reducers
    from qd_agent.reduction.reducer import AzimuthalReducer

__all__ = [
    "DetectorSettings",
    "ReductionSettings",
    "StripSettings",
    "open_reducer",
    "open_reducers",
]


def open_reducer(settings: ReductionSettings) -> AzimuthalReducer:
    """Open PONI, mask and dark, and give the reducer (pyFAI is imported here, in seconds).

    Raises:
        Fatal: PONI, mask or dark cannot be used; the message names it.
    """
    from qd_agent.reduction.reducer import AzimuthalReducer  # noqa: PLC0415 - pyFAI is heavy

    return AzimuthalReducer(settings)


def open_reducers(
    default: ReductionSettings | None,
    detectors: Mapping[str, DetectorSettings],
    tolerance: float = 1e-3,
) -> Reducers:
    """Open what every detector needs, and give the reducer of them all.

    Args:
        default: for the detectors that have no settings of their own.
        detectors: settings by data key.
        tolerance: relative difference up to which a declared wavelength agrees with a geometry's.

    Raises:
        Fatal: PONI, axis, mask or dark of one cannot be used; the message names it.
    """
    from qd_agent.reduction.detectors import Reducers  # noqa: PLC0415 - core.pattern, numpy

    return Reducers(default, detectors, tolerance)
