"""Reading back what the sinks have stored: live from Redis, afterwards from Tiled."""

from __future__ import annotations

from collections.abc import Mapping

from qd_agent.core.frame import FrameKey
from qd_agent.core.prediction import Prediction
from qd_agent.sinks.connections import RedisConnection, TiledConnection
from qd_agent.sinks.settings import TiledSettings

_AT_ONCE = 500


class PredictionReader:
    """Follows the stream of all runs from its beginning, as any other program could.

    Args:
        connection: where Redis is.
        prefix: first part of every key.
    """

    def __init__(self, connection: RedisConnection, prefix: str = "qd") -> None:
        from qd_agent.sinks.redis_keys import Keys  # noqa: PLC0415 - the Redis client is heavy
        from qd_agent.sinks.redis_link import connect  # noqa: PLC0415

        self._connection = connection
        self._client = connect(connection)
        self._stream = Keys(prefix).predictions
        self._last = "0-0"

    def read_new(self, block_s: float = 0.0) -> list[tuple[Prediction, float]]:
        """Give the predictions stored since the last call, in order.

        Args:
            block_s: wait so long (at most 5 s) for the first one.

        Returns:
            Each with the time at which Redis stored it, UTC epoch s by the server's clock.

        Raises:
            Unavailable: Redis is away.
            Fatal: it refuses us.
        """
        from qd_agent.sinks.redis_link import translated  # noqa: PLC0415

        # Below the client's own timeout, or a quiet stream would look like a dead server.
        block = max(1, round(min(block_s, 5.0) * 1000)) if block_s > 0 else None
        with translated(self._connection):
            answer = self._client.xread({self._stream: self._last}, count=_AT_ONCE, block=block)
        found: list[tuple[Prediction, float]] = []
        for entry, fields in _entries(answer):
            self._last = entry.decode()
            prediction = Prediction.model_validate_json(fields[b"prediction"])
            found.append((prediction, int(entry.partition(b"-")[0]) / 1000.0))
        return found

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()


def _entries(answer: object) -> list[tuple[bytes, Mapping[bytes, bytes]]]:
    """Take the one stream out of XREAD's answer: a list (RESP2) or a mapping (RESP3)."""
    if not answer:
        return []
    if isinstance(answer, dict):
        (batches,) = answer.values()
        return [entry for batch in batches for entry in batch]
    ((_, entries),) = answer  # pyright: ignore[reportGeneralTypeIssues] - the client's types are loose
    return entries


def stored_frames(
    connection: TiledConnection, run_uid: str, settings: TiledSettings | None = None
) -> list[FrameKey]:
    """Give the frames of a run that have a row in Tiled, in row order; repeats would show.

    Raises:
        Unavailable: Tiled is away.
        Fatal: it refuses us.
    """
    from qd_agent.sinks.tiled_link import open_tiled, translated  # noqa: PLC0415 - seconds
    from qd_agent.sinks.tiled_run import find_node  # noqa: PLC0415
    from qd_agent.sinks.tiled_table import read_table  # noqa: PLC0415

    settings = settings or TiledSettings()
    with translated(connection), open_tiled(connection) as root:
        node = find_node(root, settings.container, run_uid)
        if node is None or "predictions" not in node:
            return []
        columns = read_table(node["predictions"], ["stream", "data_key", "seq_num", "index"])
        rows = columns[["stream", "data_key", "seq_num", "index"]].itertuples(index=False)
        return [
            FrameKey(run_uid=run_uid, stream=s, data_key=d, seq_num=int(n), index=int(i))
            for s, d, n, i in rows
        ]
