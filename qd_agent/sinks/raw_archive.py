"""The raw runs in Tiled, over one connection: each that is made anew costs 50 kB for good."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from qd_agent.core.catalog import CatalogPage
from qd_agent.core.frame import FrameReference
from qd_agent.core.ports import Document
from qd_agent.sinks.connections import TiledConnection
from qd_agent.sinks.raw_catalog import page_of
from qd_agent.sinks.raw_frames import frame_of
from qd_agent.sinks.raw_run import documents_of
from qd_agent.sinks.raw_streams import find_child
from qd_agent.sinks.settings import TiledSettings


class RawArchive:
    """Asks Tiled for raw runs; connects when first asked. One thread at a time may use it.

    Args:
        settings: where the raw runs are.
        connection: where Tiled is.
    """

    def __init__(self, settings: TiledSettings, connection: TiledConnection) -> None:
        self._path = settings.raw_container.split("/") if settings.raw_container else []
        self._connection = connection
        self._root: Any = None

    def run(self, run_uid: str, had: Mapping[str, int] | None = None) -> list[Document] | None:
        """Give the documents of a run as Tiled knows it; the stop only when it has stopped.

        Args:
            run_uid: the run.
            had: how many events are known already, by descriptor; their images are left out.

        Returns:
            The documents, or None when Tiled does not have the run.

        Raises:
            Unavailable: Tiled is away.
            BadFrame: what it has there cannot be understood.
            Fatal: it refuses us.
        """
        with self._catalog() as catalog:
            return None if catalog is None else documents_of(catalog, run_uid, had)

    def page(
        self, following: str | None = None, where: Mapping[str, object] | None = None
    ) -> CatalogPage | None:
        """Give the runs that came to the catalog last, or the page after an earlier one.

        Args:
            following: what the earlier page gave.
            where: fields of the start document and the values that they must have.

        Returns:
            Some runs, or None when Tiled has no such catalog.

        Raises:
            Unavailable: Tiled is away.
            Fatal: it refuses us.
        """
        with self._catalog() as catalog:
            return None if catalog is None else page_of(catalog, following, where or {})

    def frame(self, reference: FrameReference) -> npt.NDArray[np.generic]:
        """Give the pixels of a frame of a stopped run, as Tiled has them.

        Raises:
            Unavailable: Tiled is away, or the run has not stopped there.
            BadFrame: it does not have the frame, or which one it is is not certain.
            Fatal: it refuses us.
        """
        with self._catalog() as catalog:
            return frame_of(catalog, reference)

    def close(self) -> None:
        """Let go of the connection."""
        if self._root is not None:
            self._root.context.close()
            self._root = None

    @contextmanager
    def _catalog(self) -> Generator[Any]:
        """Give the container of raw runs, or None when Tiled has none."""
        from qd_agent.sinks.tiled_link import connect_tiled, translated  # noqa: PLC0415 - seconds

        with translated(self._connection):
            if self._root is None:
                self._root = connect_tiled(self._connection)
            node = self._root
            for key in self._path:
                node = None if node is None else find_child(node, key)
            yield node
