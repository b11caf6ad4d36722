"""Rows of Parquet tables, a batch at a time; pictures embedded in them are named, not given.

Their bytes are left unread where a path stands beside them; where they stand alone, only whether they are null is kept.
A picture is a column of binary values, or of structs with binary `bytes` as the hub writes them; other children of such
a struct are not given. Reading the bytes belongs to `places.py`, other tables to `rows.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from medmax_pipeline.errors import ArchiveError
from medmax_pipeline.records import ImageRef
from medmax_pipeline.sources.record import Row

ROWS_A_BATCH: Final = 256
MAX_COLUMNS: Final = 1_000
"""Ours: leaves of a table; published tables have up to 15."""
MAX_BATCH_BYTES: Final = 256 << 20
"""Ours: what `ROWS_A_BATCH` rows may take in memory, pictures aside."""
MAX_FOOTER_BYTES: Final = 64 << 20
"""Ours: longest string in a footer; the hub keeps a table's whole schema in one."""
MAX_FOOTER_ITEMS: Final = 1 << 20
"""Ours: longest list in a footer."""


class Picture(NamedTuple):
    """A column of embedded pictures."""

    column: str
    bytes_leaf: str
    """Path of the leaf that holds the bytes."""
    witness: str
    """Path of the leaf that tells a null from a picture: a neighbour of the bytes, or they themselves where they stand
    alone."""


@contextmanager
def _named_errors(name: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, EOFError, MemoryError, UnicodeDecodeError) as error:
        raise ArchiveError(f"{name}: not readable as Parquet ({error}). Is the download complete?") from error


def picture_columns(schema: pa.Schema, name: str) -> tuple[Picture, ...]:
    """The columns that hold pictures, in the order of the table that errors call `name`.

    Raises:
        ArchiveError: binary values lie deeper than a struct's `bytes`, where no picture can be named.
    """
    found = []
    for field in schema:
        if _is_binary(field.type):
            found.append(Picture(field.name, field.name, field.name))
        elif pa.types.is_struct(field.type) and "bytes" in _children(field.type):
            others = [child for child in _children(field.type) if child != "bytes"]
            found.append(Picture(field.name, f"{field.name}.bytes", f"{field.name}.{[*others, 'bytes'][0]}"))
        elif _holds_binary(field.type):
            raise ArchiveError(f"{name}: column {field.name!r} is {field.type}; expected binary, or a struct of bytes.")
    return tuple(found)


def _children(kind: pa.DataType) -> list[str]:
    return [kind.field(index).name for index in range(kind.num_fields)]


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _holds_binary(kind: pa.DataType) -> bool:
    inner = [kind.field(index).type for index in range(kind.num_fields)]
    return _is_binary(kind) or pa.types.is_fixed_size_binary(kind) or any(map(_holds_binary, inner))


def read_parquet(handle: BinaryIO, name: str) -> Iterator[Row]:
    """Rows of a Parquet table.

    A picture arrives as `ImageRef(name, "<column>/<row>")`, a null picture as None.

    Args:
        handle: the open file; it must seek.
        name: what rows, pictures and errors call it.

    Raises:
        ArchiveError: footer or pages are corrupt, column names repeat, or some rows are above `MAX_BATCH_BYTES`.
    """
    with (
        _named_errors(name),
        pq.ParquetFile(
            handle,
            pre_buffer=False,
            page_checksum_verification=True,
            thrift_string_size_limit=MAX_FOOTER_BYTES,
            thrift_container_size_limit=MAX_FOOTER_ITEMS,
        ) as table,
    ):
        yield from _rows(table, name)


def _rows(table: pq.ParquetFile, name: str) -> Iterator[Row]:
    """Column chunks are never asked for their metadata: pyarrow ends the process where that is corrupt."""
    schema = table.schema_arrow
    if len(set(schema.names)) != len(schema.names) or table.metadata.num_columns > MAX_COLUMNS:
        raise ArchiveError(f"{name}: columns are {schema.names[:40]}; expected distinct names, at most {MAX_COLUMNS}.")
    pictures = {picture.column: picture.witness for picture in picture_columns(schema, name)}
    plain = [column for column in schema.names if column not in pictures]
    number = 0
    for batch in table.iter_batches(ROWS_A_BATCH, columns=[*plain, *pictures.values()]):
        if sorted(batch.schema.names) != sorted(schema.names):
            raise ArchiveError(f"{name}: columns are {batch.schema.names}, the footer says {schema.names}. Fetch it.")
        if batch.nbytes > MAX_BATCH_BYTES:
            raise ArchiveError(f"{name}: {batch.num_rows} rows at {number} take {batch.nbytes} bytes. Refused.")
        present = {column: batch.column(column).is_valid().to_pylist() for column in pictures}
        for index, (values, fault) in enumerate(_values(batch.select(plain))):
            for column, there in present.items():
                values[column] = ImageRef(name, f"{column}/{number}") if there[index] else None
            yield Row(name, number, {}, fault) if fault else Row(name, number, values)
            number += 1


def _values(batch: pa.RecordBatch) -> Iterator[tuple[dict[str, Any], str]]:
    """Each row's values, or why they cannot be read."""
    try:
        yield from [(values, "") for values in batch.to_pylist()]
    except UnicodeDecodeError:
        for index in range(batch.num_rows):
            try:
                yield batch.slice(index, 1).to_pylist()[0], ""
            except UnicodeDecodeError as error:
                yield {}, f"a string is not UTF-8 ({error})"
