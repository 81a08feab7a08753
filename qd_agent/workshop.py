"""The rooms that a frame passes through, opened as a configuration says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qd_agent import __version__
from qd_agent.answers import Patience, Stages
from qd_agent.archivist import Answer
from qd_agent.config import Config
from qd_agent.core.frame import Happening
from qd_agent.core.ports import Document
from qd_agent.core.prediction import Provenance
from qd_agent.documents import open_router
from qd_agent.frames import FrameSettings, open_reader
from qd_agent.inference import open_sizer
from qd_agent.reduction import open_reducers
from qd_agent.retelling import happenings_of
from qd_agent.run_search import RunFinder
from qd_agent.sinks.raw_archive import RawArchive

if TYPE_CHECKING:
    from qd_agent.frames.reader import Reader


@dataclass(frozen=True, slots=True)
class Workshop:
    """What answers frames.

    Attributes:
        stages: reader, reducer and sizer.
        provenance: what is the same for every prediction.
        model: name of the model version, as the ledger keeps it.
        files: sha256 of every file that patterns depend on, of all detectors.
        reader: of the stages; it can also tell how many frames a dataset holds.
    """

    stages: Stages
    provenance: Provenance
    model: str
    files: tuple[str, ...]
    reader: Reader


def finder_of(config: Config, look: Callable[[str], Future[Answer]]) -> RunFinder:
    """Give what finds dark and background runs in an archive.

    Args:
        config: which streams and detectors count.
        look: asks the archive for a run's documents.
    """

    def happenings(documents: Sequence[Document]) -> Sequence[Happening]:
        return happenings_of(open_router(config.routing(), config.metadata, live=False), documents)

    return RunFinder(look, happenings)


def patience_of(settings: FrameSettings) -> Patience:
    """Give how often, and when, frames are tried again that are away."""
    return Patience(settings.retry_delays_s, settings.tries_after_stop, settings.storage_patience_s)


def open_workshop(
    config: Config,
    stack: ExitStack,
    stopping: Callable[[], bool] = lambda: False,
    tiled: RawArchive | None = None,
) -> Workshop:
    """Open reader, reducers and sizer; `stack` closes them.

    Args:
        config: says which.
        stack: closes them, and `tiled` too.
        stopping: asked while a frame is waited for.
        tiled: of the reader's own, for frames whose files cannot be reached.

    Raises:
        Fatal: something that the configuration names cannot be opened.
    """
    sizer = open_sizer(config.sizer)
    tolerance = config.metadata.wavelength_tolerance
    reducer = open_reducers(config.reduction, config.detectors, tolerance)
    asked = tiled.frame if tiled is not None and config.frames.through_tiled else None
    reader = open_reader(config.frames, stopping, asked)
    if tiled is not None:
        stack.callback(tiled.close)
    stack.callback(reader.close)
    provenance = Provenance(
        model_name=sizer.model_name,
        model_version=sizer.model_version,
        model_sha256=sizer.model_sha256,
        config_hash=config.numbers_hash(),
        poni_sha256=reducer.main.poni_sha256,
        mask_sha256=reducer.main.mask_sha256,
        package_version=__version__,
    )
    model = f"{sizer.model_name}-{sizer.model_version}-{sizer.model_sha256[:12]}"
    return Workshop(Stages(reader, reducer, sizer), provenance, model, reducer.files, reader)
