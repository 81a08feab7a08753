"""Door to the sizes: `open_sizer` answers patterns, `open_refiner` fits the Debye model to one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qd_agent.inference.settings import SizerSettings

if TYPE_CHECKING:
    from qd_agent.inference.refinement import Refiner
    from qd_agent.inference.sizer import NetworkSizer

__all__ = ["SizerSettings", "open_refiner", "open_sizer"]


def open_sizer(settings: SizerSettings | None = None) -> NetworkSizer:
    """Load the model; takes seconds, because it loads torch.

    Raises:
        Fatal: the model is missing, incomplete or not what its card says.
    """
    from qd_agent.inference.sizer import (  # noqa: PLC0415 - torch: only those who size wait for it
        NetworkSizer,
    )

    return NetworkSizer.open(settings or SizerSettings())


def open_refiner(settings: SizerSettings | None = None) -> Refiner:
    """Load the clusters of a model for refinements; takes seconds, because it loads torch.

    Raises:
        Fatal: the model is missing, incomplete or not what its card says.
    """
    from qd_agent.inference.artifact import read_artifact  # noqa: PLC0415 - torch, as above
    from qd_agent.inference.refinement import Refiner  # noqa: PLC0415

    return Refiner(read_artifact((settings or SizerSettings()).model))
