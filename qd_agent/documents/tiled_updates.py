"""Tiled's streams: what is written into a catalog, as it is written.

Each node of a run has a stream of numbered updates. All of them are received on one thread, over
a websocket each; what they say in detail does not matter here, since an update only wakes whoever
reads the run. Tiled's own client is not used for it: it cannot be given a CA, waits without a limit
for a server that is away, and gives a stream up for good after one message that is too large.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote, urlsplit, urlunsplit

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from qd_agent.documents import _msgpack

Path = tuple[str, ...]

CONNECTING, CONNECTED = "connecting", "connected"
BACKOFF_S, LONGEST_BACKOFF_S = 0.2, 10.0
"""Waits between two tries to connect; they double."""
OPEN_S = 10.0
CLOSED_BY_WRITER, TOO_LARGE = 1000, 1009
"""Codes with which a websocket is closed."""
MAX_FOLLOWED = 500
"""Nodes followed at once; each is a connection. Runs beyond that are looked at now and then."""
_TOO_OFTEN = 3
"""A node that is not found so often in a row is gone."""


class Updates(threading.Thread):
    """Follows a container of runs, and every node of the runs that are written into it.

    Args:
        uri: the API's root, http://host:port/api/v1.
        root: where the runs are.
        headers: to be sent with every connection.
        tls: for an https:// URI; None for the system's.
        max_bytes: larger messages are skipped.
        wake: called with the uid of a run when something has changed in it; on this thread.
        explain: adds to what TLS complains of what can be done about it.

    Attributes:
        state: 'connected', 'connecting', or in a sentence why nothing can come.
    """

    def __init__(
        self,
        uri: str,
        root: Path,
        headers: Mapping[str, str],
        *,
        tls: ssl.SSLContext | None,
        max_bytes: int,
        wake: Callable[[str], None],
        explain: Callable[[str], str] = str,
    ) -> None:
        super().__init__(name="updates of Tiled", daemon=True)
        self._uri, self._root, self._headers = uri, root, dict(headers)
        self._tls, self._max_bytes, self._wake, self._explain = tls, max_bytes, wake, explain
        self._tasks: dict[Path, asyncio.Task[None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main_task: asyncio.Task[None] | None = None
        self._ending = threading.Event()
        self.state = CONNECTING

    def run(self) -> None:
        """Follow until `stop`."""
        asyncio.run(self._main())

    def stop(self) -> None:
        """End the thread and all its connections."""
        self._ending.set()
        self._call(self._cancel)
        self.join(timeout=2.0)

    def forget(self, run_uid: str) -> None:
        """Follow a run no longer."""
        self._call(self._drop, run_uid)

    def _call(self, function: Callable[..., None], *arguments: str) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(function, *arguments)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._main_task = asyncio.current_task()
        if not self._ending.is_set():
            with suppress(asyncio.CancelledError):
                await self._keep_following(self._root)
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _cancel(self) -> None:
        if self._main_task is not None:
            self._main_task.cancel()

    def _drop(self, run_uid: str) -> None:
        mine = (*self._root, run_uid)
        for path in [path for path in self._tasks if path[: len(mine)] == mine]:
            self._tasks.pop(path).cancel()

    def _follow(self, path: Path) -> None:
        if path not in self._tasks and len(self._tasks) < MAX_FOLLOWED:
            self._tasks[path] = asyncio.create_task(self._keep_following(path))

    async def _keep_following(self, path: Path) -> None:
        """Receive a node's updates; connect again, from the next one on, until it is closed."""
        # From the first update that the server still has: children made before we came, too.
        following, wait, missing = 0, BACKOFF_S, 0
        while missing < _TOO_OFTEN:
            try:
                async with self._connection(path, following) as socket:
                    self._say(path, CONNECTED)
                    wait, missing = BACKOFF_S, 0
                    async for message in socket:
                        following = self._take(path, message, following)
                    if socket.close_code == CLOSED_BY_WRITER and path != self._root:
                        break
            except InvalidStatus as error:
                status = error.response.status_code
                missing += status == HTTPStatus.NOT_FOUND and path != self._root
                self._say(path, _refusal(status))
            except ConnectionClosed as error:
                too_large = error.sent is not None and error.sent.code == TOO_LARGE
                following += too_large  # it only wakes us, and so has done what it should
                self._say(path, CONNECTING)
                self._wake_run(path)
            except (OSError, WebSocketException, TimeoutError, EOFError) as error:
                self._say(path, self._why_not(error))
            await asyncio.sleep(wait * random.uniform(0.75, 1.25))  # noqa: S311 - no secret
            wait = min(2.0 * wait, LONGEST_BACKOFF_S)
        self._tasks.pop(path, None)

    def _connection(self, path: Path, following: int) -> connect:
        parts = urlsplit(self._uri)
        place = "/".join(quote(key, safe="") for key in path)
        address = urlunsplit(
            (
                "wss" if parts.scheme == "https" else "ws",
                parts.netloc,
                f"{parts.path.rstrip('/')}/stream/single/{place}",
                f"envelope_format=msgpack&start={following}",
                "",
            )
        )
        options: dict[str, Any] = {}
        if parts.scheme == "https" and self._tls is not None:
            options["ssl"] = self._tls
        return connect(
            address,
            additional_headers=self._headers,
            max_size=self._max_bytes,
            open_timeout=OPEN_S,
            proxy=None,
            **options,
        )

    def _why_not(self, error: Exception) -> str:
        """Say what keeps us from connecting, where waiting alone may not help."""
        if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
            return f"connecting: Tiled cannot be talked to: {self._explain(str(error))}"
        return CONNECTING

    def _say(self, path: Path, state: str) -> None:
        if path == self._root:
            self.state = state

    def _wake_run(self, path: Path) -> None:
        if len(path) > len(self._root):
            self._wake(path[len(self._root)])

    def _take(self, path: Path, message: bytes | str, following: int) -> int:
        """Take in an update; give the number of the one that follows it."""
        update = _read(message)
        number = update.get("sequence")
        if not isinstance(number, int):
            return following  # the first message of a connection only describes the node
        key, kind = update.get("key"), str(update.get("type"))
        if path != self._root:
            self._wake_run(path)
        elif isinstance(key, str) and key:
            self._wake(key)
        if isinstance(key, str) and key and self._is_worth_following(kind, update):
            self._follow((*path, key))
        return number + 1

    @staticmethod
    def _is_worth_following(kind: str, update: Mapping[str, object]) -> bool:
        """Tell whether a node is new and has to be followed; arrays in Tiled come with a table."""
        if kind != "container-child-created":
            return False
        family = update.get("structure_family")
        if family != "array":
            return family in {"container", "table"}
        sources = cast("list[Mapping[str, object]]", update.get("data_sources") or [{}])
        return str(sources[0].get("management")).endswith("external")


def _refusal(status: int) -> str:
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return f"refused: Tiled does not accept our key for its streams ({status})"
    if status == HTTPStatus.NOT_FOUND:
        return "connecting: Tiled has no catalog of raw runs yet (tiled.raw_container)"
    return f"connecting: Tiled gives no stream ({status}); it may run without a streaming cache"


def _read(message: bytes | str) -> Mapping[str, object]:
    """Decode an update; empty when it is none."""
    if isinstance(message, str):
        return {}
    try:
        update = _msgpack.unpack(
            message, hook=lambda value: value, ext_hook=lambda _code, _data: None, max_items=1 << 20
        )
    except _msgpack.FAILURES:
        return {}
    return cast("Mapping[str, object]", update) if isinstance(update, Mapping) else {}
