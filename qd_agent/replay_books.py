"""The books of replays: one file for all that the numbers depend on, so that none is mixed."""

from __future__ import annotations

import hashlib
from pathlib import Path

from qd_agent.config import SINKS
from qd_agent.ledger import Books
from qd_agent.workshop import Workshop

_PUBLISHED, _KEPT = "published", "kept"


def books_of(folder: Path, workshop: Workshop, *, published: bool) -> Path:
    """Give the books' file, named after model, settings and the content of every file they name."""
    settings = (workshop.provenance.config_hash, *workshop.files)
    name = _PUBLISHED if published else _KEPT
    return folder / f"{name}-{_short(workshop.model)}-{_short(*settings)}.sqlite"


def published_otherwise(path: Path) -> frozenset[str]:
    """Give the runs that the same model published with other settings or files.

    Args:
        path: the books of a replay that publishes.
    """
    model = path.stem.split("-")[1]
    others = [p for p in path.parent.glob(f"{_PUBLISHED}-{model}-*.sqlite") if p != path]
    return frozenset(uid for other in others for uid in _run_uids(other))


def _short(*parts: object) -> str:
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:12]


def _run_uids(path: Path) -> list[str]:
    books = Books(path, SINKS)
    try:
        return [record.uid for record in books.runs() if record.account.seen]
    finally:
        books.close()
