"""Reading a table from Tiled in one plain request.

The client's own `read` goes through dask, which takes two equal expressions for one and the same
object: for a table that another connection of this process has read before, it may use that
connection, closed long since, and go on failing for as long as the process lives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_ARROW = "application/vnd.apache.arrow.file"


def read_table(table: Any, columns: Sequence[str] | None = None) -> Any:
    """Give a table (or some of its columns) as a pandas DataFrame.

    Args:
        table: client of the table.
        columns: names; None gives them all.

    Raises:
        httpx and client errors, for `tiled_link.translated`.
    """
    import pyarrow as pa  # noqa: PLC0415 - heavy, and only with Tiled in use

    answer = table.context.http_client.get(
        table.item["links"]["full"],
        headers={"Accept": _ARROW},
        params={"column": list(columns)} if columns else {},
    )
    answer.raise_for_status()
    with pa.ipc.open_file(pa.BufferReader(answer.read())) as file:
        return file.read_pandas()
