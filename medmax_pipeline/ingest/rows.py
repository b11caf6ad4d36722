"""Readers of upstream tables of text, line by line: JSON lines and CSV, in bounded memory.

Each takes an open binary stream, so that members of archives stream too, and gives rows in the order of the file. None
repairs: a row that cannot be read comes back with its `fault`, a file that cannot be read on is an `ArchiveError` that
names it. Texts are UTF-8, with or without a byte order mark, gzipped or not by their first bytes; no string of a row
holds half of a surrogate pair, so all of them can be written again. JSON is read as Python reads it: `NaN` and
`Infinity` are floats, of equal keys in one object the last wins.

One big JSON value is `json_stream.py`, Parquet `parquet.py`; what a row means belongs to its source's adapter.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Final

from medmax_pipeline.errors import ArchiveError
from medmax_pipeline.sources.record import Row

MAX_ROW_CHARS: Final = 8 << 20
"""Ours: a longer row is refused; the longest of the published sets, a chat, is below 100,000 characters."""
MAX_FIELD_CHARS: Final = 2 << 20
"""Ours: a longer field of a CSV is refused; the csv module's own 128 Ki characters would refuse long captions."""
MAX_DEPTH: Final = 64
"""Ours: objects and lists inside each other in one row; published rows have up to 5."""
CHUNK_BYTES: Final = 1 << 20
_GZIP: Final = b"\x1f\x8b"
_SURROGATE: Final = re.compile(r"\\u[dD][89A-Fa-f]")


@contextmanager
def named_errors(name: str) -> Iterator[None]:
    """Name the file in whatever the decoders say."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise ArchiveError(f"{name}: not UTF-8 ({error}). Expected UTF-8: fetch it again, or convert it.") from error
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise ArchiveError(f"{name}: cannot be read on ({error}). Is the download complete? Fetch it again.") from error


class _Headed(io.BufferedIOBase):
    """A stream whose first bytes were taken off already."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head = head
        self._rest = rest

    def read(self, size: int | None = -1, /) -> bytes:
        if not self._head:
            return self._rest.read(-1 if size is None else size)
        wanted = len(self._head) if size is None or size < 0 else size
        piece, self._head = self._head[:wanted], self._head[wanted:]
        return piece


def pieces(handle: BinaryIO, name: str) -> Iterator[bytes]:
    """A text file's bytes, unpacked, without its byte order mark.

    Raises:
        ArchiveError: it is UTF-16, UTF-32 or no text at all.
    """
    head = handle.read(max(CHUNK_BYTES, 4))
    stream: io.BufferedIOBase | gzip.GzipFile = _Headed(head, handle)
    if head.startswith(_GZIP):
        stream = gzip.GzipFile(fileobj=stream, mode="rb")
    piece = stream.read(max(CHUNK_BYTES, 4))
    if b"\0" in piece[:4] or piece.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ArchiveError(f"{name}: begins with {piece[:4]!r}; expected text in UTF-8. Fetch it again, or convert it.")
    piece = piece.removeprefix(codecs.BOM_UTF8)
    while piece:
        yield piece
        piece = stream.read(CHUNK_BYTES)


def _lines(handle: BinaryIO, name: str) -> Iterator[str | None]:
    """Lines without their line feed; None for one of more than `MAX_ROW_CHARS` bytes."""
    tail, oversized = b"", False
    for piece in pieces(handle, name):
        *whole, tail = (tail + piece).split(b"\n")
        for line in whole:
            yield None if oversized or len(line) > MAX_ROW_CHARS else line.decode()
            oversized = False
        if len(tail) > MAX_ROW_CHARS:
            tail, oversized = b"", True
    if oversized or tail:
        yield None if oversized else tail.decode()


def object_row(name: str, number: int, value: Any, text: str, start: int, end: int) -> Row:
    """A decoded value as a row; `text[start:end]` is what it was decoded from."""
    if not isinstance(value, dict):
        return Row(name, number, {}, f"expected a JSON object, found {type(value).__name__}")
    brackets = text.count("{", start, end) + text.count("[", start, end)
    if brackets > MAX_DEPTH and _too_deep(value):
        return Row(name, number, {}, f"objects and lists more than {MAX_DEPTH} deep")
    escaped = text.find("\\u", start, end) >= 0
    if escaped and _SURROGATE.search(text, start, end) and not writable(value):
        return Row(name, number, {}, "a string holds half of a surrogate pair, which no UTF-8 text can hold")
    return Row(name, number, value)


def _too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for item in level
            for child in (item.values() if isinstance(item, dict) else item)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True


def writable(value: Any) -> bool:
    """Whether every string of a JSON value can be written as UTF-8."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def read_jsonl(handle: BinaryIO, name: str) -> Iterator[Row]:
    """Rows of a file with one JSON object a line; blank lines are passed over but counted.

    Args:
        handle: the open file.
        name: what rows and errors call it.

    Raises:
        ArchiveError: the file is not UTF-8 or breaks off.
    """
    with named_errors(name):
        for number, line in enumerate(_lines(handle, name)):
            if line is None:
                yield Row(name, number, {}, f"longer than {MAX_ROW_CHARS} bytes")
            elif line and not line.isspace():
                try:
                    value = json.loads(line)
                except (ValueError, RecursionError) as error:
                    yield Row(name, number, {}, f"not JSON ({error})")
                else:
                    yield object_row(name, number, value, line, 0, len(line))


class _Records:
    """The lines of a CSV for its reader, which must not gather a record without end."""

    def __init__(self, handle: BinaryIO, name: str) -> None:
        self._lines = _lines(handle, name)
        self._name = name
        self.taken = 0
        """Characters since the last record."""
        self.count = 0
        """Lines so far."""
        self.ended = False

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.count += 1
            self.taken += MAX_ROW_CHARS + 1 if line is None else len(line)
            if line is None or self.taken > MAX_ROW_CHARS:
                raise ArchiveError(
                    f"{self._name}: the record at line {self.count} is longer than {MAX_ROW_CHARS}. Refused."
                )
            yield f"{line}\n"
        self.ended = True


def read_csv(handle: BinaryIO, name: str) -> Iterator[Row]:
    """Rows of a CSV file with a header; the first column may be without a name, as that of an index is.

    Every value stays a string: `NA`, `None` and the empty string are what the publisher wrote. A record of one line
    that is badly quoted is a fault of that row; one of several lines ends the file, since nobody can say where the next
    record begins.

    Args:
        handle: the open file.
        name: what rows and errors call it.

    Raises:
        ArchiveError: the file is empty, not UTF-8 or breaks off, its header repeats a name, or its quotes cannot be
            followed.
    """
    csv.field_size_limit(MAX_FIELD_CHARS)
    with named_errors(name):
        lines = _Records(handle, name)
        reader = csv.reader(lines, strict=True)
        header = _header(reader, name)
        number = 0
        while True:
            lines.taken, began = 0, lines.count
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                if lines.ended or lines.count != began + 1:
                    raise ArchiveError(
                        f"{name}: the record that begins in line {began + 1} cannot be told from the next ({error}). "
                        "Fetch it again."
                    ) from error
                yield Row(name, number, {}, f"line {lines.count}: {error}")
            else:
                if fields:  # none: a blank line
                    yield _record(name, number, header, fields)
            number += 1


def _header(reader: Iterator[list[str]], name: str) -> list[str]:
    try:
        header = next(reader, [])
    except csv.Error as error:
        raise ArchiveError(f"{name}: no header in the first line ({error}). Fetch it again.") from error
    if not header or len(set(header)) != len(header) or "" in header[1:]:
        raise ArchiveError(f"{name}: header is {header}; expected distinct column names in the first line.")
    return header


def _record(name: str, number: int, header: list[str], fields: list[str]) -> Row:
    if len(fields) != len(header):
        return Row(name, number, {}, f"{len(fields)} fields where the header has {len(header)}")
    if "\0" in "".join(fields):
        return Row(name, number, {}, "a field holds a NUL character")
    return Row(name, number, dict(zip(header, fields, strict=True)))
