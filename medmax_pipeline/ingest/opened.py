"""The files of one source opened for reading rows: what a record's `rows` is given.

Names come from raw's index, bytes from where they lie, loose or in an archive; nothing is unpacked to disk. How a kind
of table is read belongs to `rows.py`, `json_stream.py` and `parquet.py`, what a row means to the source's adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, Final, TypeVar

from medmax_pipeline.errors import ArchiveError
from medmax_pipeline.ingest.index import Index
from medmax_pipeline.ingest.json_stream import read_json_array, read_json_lists
from medmax_pipeline.ingest.parquet import read_parquet
from medmax_pipeline.ingest.places import Files
from medmax_pipeline.ingest.rows import named_errors, read_csv, read_jsonl
from medmax_pipeline.sources.record import Row

MAX_TEXT_BYTES: Final = 1 << 20
"""Ours: a longer report is refused; real ones have some thousand characters."""
T = TypeVar("T")


class SourceFiles:
    """A `RowFiles` over what raw has listed. Every method opens its file when the first row is asked for."""

    def __init__(self, index: Index, files: Files) -> None:
        """Both stay the caller's to close.

        Args:
            index: over the source's raw artifact.
            files: over its landing folder.
        """
        self._index = index
        self._files = files

    def names(self, pattern: str) -> Sequence[str]:
        """Sorted names, loose and in archives, whose path is `pattern` or ends in `/` and `pattern`."""
        return self._index.names(pattern)

    def json_array(self, name: str) -> Iterator[Row]:
        """Rows of a file that holds one JSON array of objects; errors as `read_json_array`."""
        return self._read(name, read_json_array)

    def json_lists(self, name: str) -> Iterator[tuple[tuple[str, ...], Row]]:
        """Rows of a file that holds lists of objects inside objects, with their keys; errors as `read_json_lists`."""
        return self._read(name, read_json_lists)

    def jsonl(self, name: str) -> Iterator[Row]:
        """Rows of a file with one JSON object a line; errors as `read_jsonl`."""
        return self._read(name, read_jsonl)

    def csv(self, name: str) -> Iterator[Row]:
        """Rows of a CSV file with a header, gzipped or not; errors as `read_csv`."""
        return self._read(name, read_csv)

    def parquet(self, name: str) -> Iterator[Row]:
        """Rows of a Parquet file, its pictures as their `ImageRef`; errors as `read_parquet`."""
        return self._read(name, read_parquet)

    def _read(self, name: str, reader: Callable[[BinaryIO, str], Iterator[T]]) -> Iterator[T]:
        with self._files.open(self._index.place_of(name)) as handle:
            yield from reader(handle, name)

    def text(self, path: str) -> str | None:
        """A small text, bytes that are no UTF-8 replaced by U+FFFD; None where there is none.

        Args:
            path: its path, or the end of it; of a loose file and a member of an archive the loose file is read.

        Raises:
            ArchiveError: it is larger than `MAX_TEXT_BYTES` or cannot be read, or several files answer to the path.
        """
        names = self._index.names(path)
        loose = [name for name in names if "::" not in name]
        chosen = [path] if path in loose else loose or list(names)
        if not chosen:
            return None
        if len(chosen) > 1:
            raise ArchiveError(f"{path!r}: {chosen[0]!r} and {chosen[1]!r} are called so; expected one. Remove one.")
        with named_errors(chosen[0]), self._files.open(self._index.place_of(chosen[0])) as handle:
            data = handle.read(MAX_TEXT_BYTES + 1)
        if len(data) > MAX_TEXT_BYTES:
            raise ArchiveError(f"{chosen[0]!r}: larger than {MAX_TEXT_BYTES} bytes, expected a report. Refused.")
        return data.decode("utf-8", errors="replace")
