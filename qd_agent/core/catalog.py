"""What a catalog of raw runs lists: which runs there are, not what is in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CatalogRun:
    """A run that the catalog has: its uid, and when it started (UTC epoch s)."""

    uid: str
    time: float


@dataclass(frozen=True, slots=True)
class CatalogPage:
    """Some runs, those that got into the catalog last first.

    Attributes:
        runs: of this page; entries of the catalog that are no runs are left out.
        following: names the next page (of earlier runs), for whoever gave this one; None: no more.
    """

    runs: Sequence[CatalogRun]
    following: str | None = None
