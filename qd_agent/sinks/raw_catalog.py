"""The catalog of raw runs in Tiled, a page at a time: which runs there are, the latest first.

Tiled keeps entries in the order in which they came. A run that got there late (the beamline's
writer has a queue) therefore stands in front, whenever it started.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from qd_agent.core.catalog import CatalogPage, CatalogRun

PAGE = 100
_LONGEST_UID = 128
_PLACE = ("page[cursor]", "page[offset]")


def page_of(
    catalog: Any, following: str | None = None, where: Mapping[str, object] | None = None
) -> CatalogPage:
    """Give the runs that came to the catalog last, at most PAGE, or the page after an earlier one.

    Args:
        catalog: client of the container of raw runs.
        following: what the earlier page gave.
        where: fields of the start document and the values that they must have.

    Raises:
        httpx and client errors, for `tiled_link.translated`.
    """
    query = {
        "sort": "-",
        "fields": "metadata",
        "select_metadata": "{uid: start.uid, time: start.time}",
        "page[limit]": str(PAGE),
        **dict(parse_qsl(following or "")),
    }
    conditions = [("filter[eq][condition][key]", f"start.{key}") for key in where or {}]
    conditions += [("filter[eq][condition][value]", json.dumps(v)) for v in (where or {}).values()]
    answer = catalog.context.http_client.get(
        catalog.item["links"]["search"],
        params=[*query.items(), *conditions],
        headers={"Accept": "application/json"},
    )
    answer.raise_for_status()
    return _page(answer.json())


def _page(content: Mapping[str, Any]) -> CatalogPage:
    runs = [found for item in content["data"] if (found := _run(item)) is not None]
    link = (content.get("links") or {}).get("next")
    place = [(k, v) for k, v in parse_qsl(urlsplit(link or "").query) if k in _PLACE]
    return CatalogPage(runs, urlencode(place) if place else None)


def _run(item: Mapping[str, Any]) -> CatalogRun | None:
    """Read an entry; None for one that is no run, or whose uid no frame's key can carry."""
    metadata = (item.get("attributes") or {}).get("metadata") or {}
    start = metadata.get("selected") or {}
    uid, when = start.get("uid"), start.get("time")
    if not isinstance(uid, str) or not 1 <= len(uid) <= _LONGEST_UID:
        return None
    if isinstance(when, bool) or not isinstance(when, int | float) or not isfinite(when):
        return None
    return CatalogRun(uid, float(when))
