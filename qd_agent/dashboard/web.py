"""What the routes share: the service's parts, the parameters of requests, the form of answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Query
from fastapi.responses import Response

from qd_agent.dashboard.archive import Archive
from qd_agent.dashboard.feed import Feed
from qd_agent.dashboard.settings import DashboardSettings
from qd_agent.dashboard.store import RunStore

Target = Annotated[float | None, Query(gt=0, le=100, allow_inf_nan=False)]
Uid = Annotated[str, Query(min_length=1, max_length=512)]
Entry = Annotated[str, Query(pattern=r"^\d{1,20}-\d{1,20}$")]
Source = Literal["redis", "tiled"]


@dataclass(frozen=True, slots=True)
class Service:
    """What the routes work with.

    Attributes:
        feed: the live state.
        store: Redis, for what only one viewer wants.
        archive: Tiled, or None.
        settings: of the dashboard.
        closing: set when the service ends.
    """

    feed: Feed
    store: RunStore
    archive: Archive | None
    settings: DashboardSettings
    closing: asyncio.Event


def json_answer(data: Mapping[str, object]) -> Response:
    """Give an answer that nobody on the way keeps."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return Response(text, media_type="application/json", headers={"cache-control": "no-store"})
