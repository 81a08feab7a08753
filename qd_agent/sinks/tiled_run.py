"""One run's container in Tiled: table `predictions`, array `patterns`, array `q`.

Row n of the table and row n of the array belong together. A batch goes to the array first and to
the table second, and the table decides: what is in the array beyond the table's end was left by a
write that was cut short, and the next batch is written over it. A row's number is unique in the
table, by the server's own constraint, so that a batch whose answer got lost cannot be there twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt

from qd_agent.core.errors import Fatal
from qd_agent.core.pattern import PUBLISHED_GRID
from qd_agent.core.ports import DeliveryRecord
from qd_agent.core.prediction import StoredFrame
from qd_agent.sinks.connections import safe_key
from qd_agent.sinks.tiled_rows import FRAME_COLUMNS, KEY_COLUMNS, row_key, schema, to_table
from qd_agent.sinks.tiled_table import read_table

SPEC = ("QuantumDotSizing", "1.0")
_NUMBERS = ("seq_num", "index", "revision")
WIDTH = PUBLISHED_GRID.size


class TiledRun:
    """The container of one run, opened or made; knows which predictions are in its table.

    Args:
        parent: client of the container of runs.
        run_uid: the run.
        metadata: for a container that is made now; one that exists keeps its own.

    Raises:
        httpx and client errors, for `tiled_link.translated`.
    """

    def __init__(self, parent: Any, run_uid: str, metadata: Mapping[str, object]) -> None:
        from tiled.structures.core import Spec  # noqa: PLC0415 - heavy

        self._node = child(
            parent,
            safe_key(run_uid),
            lambda key: parent.create_container(key, metadata=dict(metadata), specs=[Spec(*SPEC)]),
        )
        q = PUBLISHED_GRID.values()
        child(self._node, "q", lambda key: self._node.write_array(q, key=key, dims=["q"]))
        self._table = child(self._node, "predictions", self._create_table)
        self._patterns: Any = self._node.get("patterns")
        self._known: set[StoredFrame] = set()
        self._rows = 0
        self._read_table()
        self._fill_gap()

    def append(self, records: Sequence[DeliveryRecord]) -> None:
        """Add the predictions that are not in the table yet, in order."""
        fresh = {
            key: record
            for record in records
            if (key := row_key(record.prediction)) not in self._known
        }
        if not fresh:
            return
        anew = [record for key, record in fresh.items() if self._is_replaced(key)]
        if anew:
            self._replace(anew)
        new = [record for key, record in fresh.items() if key not in self._known]
        if not new:
            return
        self._write_patterns(np.stack([_pattern(record) for record in new]), self._rows)
        rows = to_table([r.prediction for r in new], self._rows)
        self._table.append_partition(0, rows.select(self._columns))
        self._known.update(fresh)
        self._rows += len(new)

    def describe(self, metadata: Mapping[str, object]) -> None:
        """Fill in what the container's metadata lack; what they have is kept."""
        have = dict(self._node.metadata)
        new = {key: value for key, value in metadata.items() if value and not have.get(key)}
        if new:
            self._node.update_metadata(new, drop_revision=True)

    @property
    def held(self) -> frozenset[StoredFrame]:
        """Everything that the table holds."""
        return frozenset(self._known)

    def finish(self, metadata: Mapping[str, object]) -> None:
        """Add to the metadata, and blank what a cut-short write has left in the array."""
        beyond = 0 if self._patterns is None else int(self._patterns.shape[0]) - self._rows
        if beyond > 0:
            self._write_patterns(np.full((beyond, WIDTH), np.nan, np.float32), self._rows)
        self._node.update_metadata(dict(metadata), drop_revision=True)

    def _is_replaced(self, key: StoredFrame) -> bool:
        """Tell whether a frame that was tried anew has an earlier row, of whatever model."""
        return key.revision > 0 and any(_frame(known) == _frame(key) for known in self._known)

    def _replace(self, records: Sequence[DeliveryRecord]) -> None:
        """Write predictions over the earlier rows of their frames.

        Tiled's tables can only grow, so this one is made anew. Should we be killed in between,
        its rows are missing until the next look at what Tiled holds brings them again.
        """
        import pyarrow as pa  # noqa: PLC0415 - heavy, and only with Tiled in use

        old = read_table(self._table)
        rows: list[dict[str, Any]] = old[self._columns].to_dict(orient="records")
        place = {tuple(row[name] for name in FRAME_COLUMNS): row["row"] for row in rows}
        by_row = {int(row["row"]): row for row in rows}
        for record in records:
            number = int(place[_frame(row_key(record.prediction))])
            (by_row[number],) = to_table([record.prediction], number).to_pylist()
            self._write_patterns(_pattern(record)[None, :], number)
        table = pa.Table.from_pylist([_without_nan(by_row[n]) for n in sorted(by_row)], schema())
        self._table.delete(external_only=False)
        self._table = child(self._node, "predictions", self._create_table)
        self._columns = schema().names
        self._table.append_partition(0, table)
        self._read_table()

    def _create_table(self, key: str) -> Any:
        from tiled.structures.data_source import DataSource  # noqa: PLC0415 - heavy
        from tiled.structures.table import TableStructure  # noqa: PLC0415

        # What `create_appendable_table` does, and two parameters that it does not pass on.
        source = DataSource(
            structure=TableStructure.from_schema(schema(), 1),
            structure_family="table",  # pyright: ignore[reportArgumentType] - a string enum
            mimetype="application/x-tiled-sql-table",
            parameters={
                "primary_key": ["row"],
                "order_by_args": [{"column": "row", "direction": "asc"}],
            },
        )
        return self._node.new("table", [source], key=key)

    def _read_table(self) -> None:
        """Learn what the table holds, which another agent or an earlier life has written."""
        # Tables of an earlier version have no revision; they are continued as they are.
        self._columns: list[str] = [name for name in schema().names if name in self._table.columns]
        columns = [name for name in ("row", *KEY_COLUMNS) if name in self._columns]
        stored = read_table(self._table, columns)[columns].to_dict(orient="records")
        self._known = set()
        for fields in stored:
            self._rows = max(self._rows, int(fields.pop("row")) + 1)
            values: dict[str, Any] = {**fields, **{n: int(fields.get(n, 0)) for n in _NUMBERS}}
            self._known.add(StoredFrame(**values))

    def _fill_gap(self) -> None:
        """Make the array as long as the table if somebody has removed it."""
        have = 0 if self._patterns is None else int(self._patterns.shape[0])
        if have < self._rows:
            self._write_patterns(np.full((self._rows - have, WIDTH), np.nan, np.float32), have)

    def _write_patterns(self, values: npt.NDArray[np.float32], first_row: int) -> None:
        if self._patterns is None:
            self._patterns = self._node.write_array(values, key="patterns", dims=["frame", "q"])
        else:
            self._patterns.patch(values, offset=(first_row, 0), extend=True)


def _frame(key: StoredFrame) -> tuple[str, str, int, int]:
    return key.stream, key.data_key, key.seq_num, key.index


def _without_nan(row: Mapping[str, Any]) -> dict[str, Any]:
    """Give a row as it was written: numbers that do not exist come back from pandas as NaN."""
    empty = {name: None for name, value in row.items() if value != value}  # noqa: PLR0124 - NaN
    return {"revision": 0, **row, **empty}


def child(parent: Any, key: str, create: Callable[[str], Any]) -> Any:
    """Give the node `key` of `parent`, made by `create(key)` when it is not there."""
    try:
        return parent[key]
    except KeyError:
        pass
    try:
        return create(key)
    except httpx.HTTPStatusError as exc:
        if exc.response.status_code != HTTPStatus.CONFLICT:
            raise
        return parent[key]  # somebody else has just made it


def container_of_runs(root: Any, path: str) -> Any:
    """Give the container at `path`, making what is missing of it."""
    node = root
    for key in path.split("/"):
        node = child(node, key, node.create_container)
    return node


def find_node(root: Any, path: str, run_uid: str) -> Any | None:
    """Give the container of a run, or None."""
    node = root
    for key in (*path.split("/"), safe_key(run_uid)):
        try:
            node = node[key]
        except KeyError:
            return None
    return node


def _pattern(record: DeliveryRecord) -> npt.NDArray[np.float32]:
    """Give the record's pattern, or a row of NaN where there was none."""
    if record.intensity is None:
        return np.full(WIDTH, np.nan, np.float32)
    if record.intensity.shape != (WIDTH,):
        raise Fatal(
            f"frame {record.prediction.key}: a pattern of shape {record.intensity.shape} came for "
            f"Tiled, not ({WIDTH},); the model was made for another Q grid"
        )
    return np.ascontiguousarray(record.intensity, dtype=np.float32)
