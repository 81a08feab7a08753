"""Server-sent events: the feed as a browser takes it, from where it was cut off."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import asdict

from qd_agent.dashboard.feed import Event, Feed, Snapshot
from qd_agent.dashboard.records import COLUMNS, FrameRow

KEEP_ALIVE_S = 10.0
"""A comment after so much silence, so that proxies do not take the line for dead."""


def snapshot_json(feed: Feed, snapshot: Snapshot, target: float | None) -> dict[str, object]:
    """Give the whole state as the page takes it."""
    return {
        "schema": 1,
        "version": snapshot.number,
        "epoch": feed.epoch,
        "now": time.time(),
        "run": None if snapshot.run is None else asdict(snapshot.run),
        "columns": COLUMNS,
        "rows": [row.as_list() for row in snapshot.rows],
        "headline": feed.headline(target).as_json(),
        **snapshot.data,
    }


async def events(
    feed: Feed, last_id: str, target: float | None, closing: asyncio.Event
) -> AsyncGenerator[bytes]:
    """Give messages until the viewer leaves or the service closes.

    Args:
        feed: the state.
        last_id: 'epoch-number' of the last message that the viewer saw, or ''.
        target: wanted diameter, nm, or None; the headline speaks of it.
        closing: set when the service ends.
    """
    loop, news = asyncio.get_running_loop(), asyncio.Event()

    def tell() -> None:
        loop.call_soon_threadsafe(news.set)

    silence = feed.listen(tell)
    seen = _number(feed, last_id)
    try:
        yield b"retry: 1000\n\n"
        while not closing.is_set():
            news.clear()
            missed = None if seen is None else feed.since(seen)
            if missed is None or any(event.kind == "reset" for event in missed):
                snapshot = feed.snapshot()
                seen = snapshot.number
                yield message(feed, seen, "snapshot", snapshot_json(feed, snapshot, target))
            elif missed:
                seen = missed[-1].number
                for number, kind, data in _merged(missed):
                    if kind == "frames":
                        data["headline"] = feed.headline(target).as_json()
                    yield message(feed, number, kind, {**data, "now": time.time()})
            else:
                yield b": still here\n\n"
            await _wait(news, closing)
    finally:
        silence()


def message(feed: Feed, number: int, kind: str, data: Mapping[str, object]) -> bytes:
    """Give one event in the wire's form."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return f"id: {feed.epoch}-{number}\nevent: {kind}\ndata: {text}\n\n".encode()


def _merged(missed: Sequence[Event]) -> list[tuple[int, str, dict[str, object]]]:
    """Make one message of all frames, and one of each other kind: who was away needs no history.

    They are in the order of their numbers, so that a cut between two of them loses nothing: the
    frames go last, with the last number.
    """
    rows: list[FrameRow] = []
    others: dict[str, Event] = {}
    for event in missed:
        rows += event.rows
        if event.kind != "frames":
            others[event.kind] = Event(event.number, event.kind, (), event.data)
    first = missed[0].number - 1
    found = [(first, event.kind, dict(event.data)) for event in others.values()]
    last = missed[-1].number
    if rows:
        found.append((last, "frames", {"rows": [row.as_list() for row in rows]}))
    elif found:
        found[-1] = (last, *found[-1][1:])
    return found


async def _wait(news: asyncio.Event, closing: asyncio.Event) -> None:
    waits = [asyncio.ensure_future(event.wait()) for event in (news, closing)]
    try:
        await asyncio.wait(waits, timeout=KEEP_ALIVE_S, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def _number(feed: Feed, last_id: str) -> int | None:
    epoch, _, number = last_id.partition("-")
    return int(number) if epoch == feed.epoch and number.isdecimal() else None
