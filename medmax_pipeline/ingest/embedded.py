"""Pictures inside a Parquet table: how long each is, and its bytes, a row group in memory at a time.

Values are read as the dictionary they may be stored as, so that a value that stands in every row is held once. Rows of
tables belong to `parquet.py`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from threading import Lock
from typing import Any, BinaryIO, Final, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from medmax_pipeline.ingest.parquet import MAX_FOOTER_BYTES, MAX_FOOTER_ITEMS, picture_columns

ROWS_A_BATCH: Final = 256


class Embedded:
    """The pictures of one open table. Safe to share between threads, which take turns."""

    def __init__(self, handle: BinaryIO, name: str) -> None:
        """Args:
        handle: the open file, which stays the caller's to close.
        name: what errors call it.

        Raises:
            ArchiveError: a column holds pictures where none can be named.
            pa.ArrowException, OSError: it is no Parquet table.
        """
        limits: dict[str, Any] = {
            "thrift_string_size_limit": MAX_FOOTER_BYTES,
            "thrift_container_size_limit": MAX_FOOTER_ITEMS,
        }
        schema = pq.ParquetFile(handle, **limits).schema_arrow
        self._leaves = {each.column: each.bytes_leaf for each in picture_columns(schema, name)}
        self._file = pq.ParquetFile(handle, read_dictionary=list(self._leaves.values()), pre_buffer=False, **limits)
        groups = range(self._file.num_row_groups)
        self._starts = [0, *accumulate(self._file.metadata.row_group(group).num_rows for group in groups)]
        self._lock = Lock()
        self._at: tuple[int, str] = (-1, "")
        self._values: Any = None

    def sizes(self) -> Iterator[tuple[str, int, int]]:
        """Column, row and length in bytes of each picture; nulls are left out."""
        for column, leaf in self._leaves.items():
            for group, row in enumerate(self._starts[:-1]):  # dictionaries of several groups do not come in one batch
                for batch in self._file.iter_batches(ROWS_A_BATCH, row_groups=[group], columns=[leaf]):
                    for at, size in enumerate(_lengths(_bytes_of(batch.column(0))).to_pylist(), row):
                        if size is not None:
                            yield column, at, size
                    row += batch.num_rows

    def read(self, column: str, row: int) -> bytes:
        """The bytes in one row of a column.

        Raises:
            LookupError: the table has no such column or row, or a null there.
        """
        if not 0 <= row < self._starts[-1]:
            raise LookupError(f"there is no row {row} among {self._starts[-1]}")
        group = bisect_right(self._starts, row) - 1
        with self._lock:
            if self._at != (group, column):
                self._at, self._values = (-1, ""), None
                self._values = _bytes_of(self._file.read_row_group(group, columns=[self._leaves[column]]).column(0))
                self._at = (group, column)
            value = self._values[row - self._starts[group]].as_py()
        if value is None:
            raise LookupError(f"column {column!r} is null in row {row}")
        return cast(bytes, value)

    def close(self) -> None:
        """Let the row group in memory go."""
        self._values = None
        self._file.close()


def _bytes_of(column: Any) -> Any:
    return pc.struct_field(column, "bytes") if pa.types.is_struct(column.type) else column


def _lengths(values: Any) -> Any:
    if pa.types.is_dictionary(values.type):
        return pc.take(pc.binary_length(values.dictionary), values.indices)
    return pc.binary_length(values)
