"""Tables too long for memory, written row by row and appearing whole.

The same rows give the same bytes: row groups have a fixed length, whatever the caller's batches. Reading belongs to
whoever needs the table; short tables go through `files.write_table`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from medmax_pipeline.files import open_atomic

ROWS_A_GROUP: Final = 8192
T = TypeVar("T")


class TableWriter(Generic[T]):
    """Appends rows to an open Parquet file."""

    def __init__(self, writer: pq.ParquetWriter, to_table: Callable[[list[T]], pa.Table]) -> None:
        self._writer = writer
        self._to_table = to_table
        self._rows: list[T] = []
        self.written = 0
        """Rows taken so far."""

    def add(self, row: T) -> None:
        """Append one row."""
        self._rows.append(row)
        self.written += 1
        if len(self._rows) == ROWS_A_GROUP:
            self.flush()

    def flush(self) -> None:
        """Write the rows held back as a row group."""
        if self._rows:
            self._writer.write_table(self._to_table(self._rows))
            self._rows = []


@contextmanager
def open_table(path: Path, to_table: Callable[[list[T]], pa.Table]) -> Iterator[TableWriter[T]]:
    """Open `path` for appending rows; it appears when the block ends without an error, else not at all.

    Args:
        path: the Parquet file.
        to_table: makes a table of some rows, with the same schema each time.
    """
    schema = to_table([]).schema
    with open_atomic(path) as handle, pq.ParquetWriter(handle, schema, compression="zstd") as writer:
        table = TableWriter(writer, to_table)
        yield table
        table.flush()


def of_schema(schema: pa.Schema) -> Callable[[list[dict[str, Any]]], pa.Table]:
    """Makes tables of plain rows that hold a value for each column of `schema`."""

    def to_table(rows: list[dict[str, Any]]) -> pa.Table:
        return pa.Table.from_pylist(rows, schema=schema)

    return to_table
