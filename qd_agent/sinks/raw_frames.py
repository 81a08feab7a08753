"""Pixels through Tiled, for frames that are in no file, or in one that cannot be reached."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from qd_agent.core.errors import BadFrame, Unavailable
from qd_agent.core.frame import FrameReference
from qd_agent.sinks.raw_streams import find_child, streams_of


def frame_of(catalog: Any, reference: FrameReference) -> npt.NDArray[np.generic]:
    """Give the pixels of one frame of a stopped run.

    A detector's array in Tiled has its stream's events in order. Where it has more or fewer than
    the stop document counts (two streams that share a file), which row is which event is not
    certain, and no frame is given: none is better than a dark one taken for a light one.

    Args:
        catalog: client of the container of raw runs, or None.
        reference: the frame; its shape tells images from strips.

    Raises:
        Unavailable: the run has not stopped there (yet).
        BadFrame: the frame is not there, or not certain.
        httpx and client errors, for `tiled_link.translated`.
    """
    key = reference.key
    run = None if catalog is None or "/" in key.run_uid else find_child(catalog, key.run_uid)
    if run is None:
        raise Unavailable(f"Tiled does not have run {key.run_uid}")
    stop = dict(run.metadata).get("stop")
    if not isinstance(stop, Mapping):
        raise Unavailable(f"run {key.run_uid} has not stopped in Tiled")
    stream = streams_of(run).get(key.stream)
    node = None if stream is None else find_child(stream, key.data_key)
    events = (stop.get("num_events") or {}).get(key.stream, 0)
    try:
        declared = dict(stream.metadata)["data_keys"][key.data_key]["shape"]  # pyright: ignore[reportOptionalMemberAccess]
        shape = tuple(int(n) for n in node.shape)  # pyright: ignore[reportOptionalMemberAccess]
        place = _place(shape, tuple(int(n) for n in declared), int(events), reference)
        return np.asarray(node[place])  # pyright: ignore[reportOptionalSubscript]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadFrame(f"Tiled does not have the pixels of {key}: {error}"[:300]) from error


def _place(
    shape: tuple[int, ...], declared: tuple[int, ...], events: int, reference: FrameReference
) -> tuple[int, ...]:
    """Give the index of a frame in an array: (event,), (event, frame) or (event × frames,)."""
    key, axes = reference.key, len(reference.shape)
    frames = prod(declared[:-axes])
    if len(declared) in {axes, axes + 1} and shape[-axes:] == declared[-axes:]:
        if key.index >= frames or key.seq_num > events:
            raise BadFrame(f"Tiled has {events} events of {frames} frames, {key} is none of them")
        if shape[:-axes] == (events, frames):
            return key.seq_num - 1, key.index
        if shape[:-axes] == (events * frames,):
            return ((key.seq_num - 1) * frames + key.index,)
    raise BadFrame(
        f"Tiled has an array of shape {shape} for {key}, which is not {events} events of "
        f"{declared}; which frame is which is not certain"
    )
