"""The descriptors of a stream as Tiled keeps it: the first one, and what later ones changed.

A detector that is configured anew within a run gets another descriptor of the same stream. Tiled
keeps of it no more than its uid, its time, and the configuration that it tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast


def descriptors_of(
    kept: Mapping[str, Any], name: str, run_uid: str
) -> tuple[dict[str, object], ...]:
    """Give all descriptors of a stream, in order, each with the whole configuration.

    Args:
        kept: metadata of the stream's node.
        name: of the stream.
        run_uid: the run.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: they are not kept as Bluesky's are.
    """
    first: dict[str, object] = {
        key: value
        for key, value in kept.items()
        if not key.startswith("_") and key != "stream_name"
    }
    first |= {"name": name, "run_start": run_uid, "object_keys": {}}
    found = [first]
    for update in kept.get("_config_updates") or ():
        latest = found[-1]
        changed = _merged(latest.get("configuration"), update.get("configuration"))
        found.append(
            {
                **latest,
                "uid": str(update["uid"]),
                "time": float(update["time"]),
                "configuration": changed,
            }
        )
    return tuple(found)


def _merged(before: object, update: object) -> dict[str, Any]:
    """Give a configuration with the values of each object that an update names in their place."""
    merged = {name: dict(told) for name, told in cast("dict[str, Any]", before or {}).items()}
    for name, told in cast("dict[str, Any]", update or {}).items():
        mine = merged.setdefault(name, {"data": {}, "timestamps": {}, "data_keys": {}})
        for part in ("data", "timestamps"):
            mine[part] = {**mine.get(part, {}), **told.get(part, {})}
    return merged
