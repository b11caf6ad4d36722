"""Rows of Parquet tables, a batch at a time; pictures embedded in them are named and their bytes left unread.

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
MAX_GROUP_BYTES: Final = 1 << 30
"""Ours: unpacked bytes of the text columns in one row group; published ones stay below 60 MB."""
MAX_FOOTER_BYTES: Final = 64 << 20
"""Ours: longest string in a footer; the hub keeps a table's whole schema in one."""
MAX_FOOTER_ITEMS: Final = 1 << 20
"""Ours: longest list in a footer."""


class Picture(NamedTuple):
    """A column of embedded pictures."""

    column: str
    bytes_leaf: str
    """Path of the leaf that holds the bytes."""
    other_leaf: str
    """Path of a cheap leaf of the same struct, which tells a null from a picture; empty where there is none."""


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
            found.append(Picture(field.name, field.name, ""))
        elif pa.types.is_struct(field.type) and "bytes" in _children(field.type):
            others = [f"{field.name}.{name}" for name in _children(field.type) if name != "bytes"]
            found.append(Picture(field.name, f"{field.name}.bytes", others[0] if others else ""))
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
        ArchiveError: footer or pages are corrupt, column names repeat, or a row group is above `MAX_GROUP_BYTES`.
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
    schema = table.schema_arrow
    if len(set(schema.names)) != len(schema.names) or table.metadata.num_columns > MAX_COLUMNS:
        raise ArchiveError(f"{name}: columns are {schema.names[:40]}; expected distinct names, at most {MAX_COLUMNS}.")
    pictures = picture_columns(schema, name)
    embedded = {picture.column for picture in pictures}
    plain = [column for column in schema.names if column not in embedded]
    number = 0
    for group in range(table.num_row_groups):
        witnesses = _witnesses(table.metadata.row_group(group), pictures)
        _check_group(table.metadata.row_group(group), embedded, f"{name}: row group {group}")
        for batch in table.iter_batches(ROWS_A_BATCH, row_groups=[group], columns=[*plain, *witnesses.values()]):
            valid = {column: batch.column(column).is_valid().to_pylist() for column in witnesses}
            for index, (values, fault) in enumerate(_values(batch.select(plain))):
                for column in embedded:
                    there = column not in valid or valid[column][index]
                    values[column] = ImageRef(name, f"{column}/{number}") if there else None
                yield Row(name, number, {}, fault) if fault else Row(name, number, values)
                number += 1


def _witnesses(group: Any, pictures: tuple[Picture, ...]) -> dict[str, str]:
    """By column the leaf that is read to tell nulls from pictures; none where the footer says that there are none."""
    nulls = {}
    for index in range(group.num_columns):
        leaf = group.column(index)
        nulls[leaf.path_in_schema] = leaf.statistics.null_count if leaf.statistics else None
    return {
        picture.column: picture.other_leaf or picture.bytes_leaf
        for picture in pictures
        if nulls[picture.bytes_leaf] != 0
    }


def _check_group(group: Any, embedded: set[str], name: str) -> None:
    leaves = [group.column(index) for index in range(group.num_columns)]
    size = sum(leaf.total_uncompressed_size for leaf in leaves if leaf.path_in_schema.split(".")[0] not in embedded)
    if size > MAX_GROUP_BYTES:
        raise ArchiveError(f"{name}: {size} bytes of text unpacked; expected at most {MAX_GROUP_BYTES}. Refused.")


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
