"""Readers of upstream tables: JSON arrays, JSON lines and CSV, streamed with bounded memory.

They give rows in the order of the file and never repair one: a row that cannot be read comes back with its `fault`, a
file that cannot be read on is an `ArchiveError` that names it. What a row means belongs to the source's adapter.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, TextIO

from medmax_pipeline.errors import ArchiveError
from medmax_pipeline.sources.record import Row

MAX_ROW_CHARS: Final = 8 << 20
"""Ours: a longer row is refused; the longest of the published sets, a chat, is below 100,000 characters."""
CHUNK_CHARS: Final = 1 << 20
_BLANKS: Final = " \t\r\n"


@contextmanager
def _named_errors(name: str) -> Iterator[None]:
    """Name the file in whatever the decoders say."""
    try:
        yield
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise ArchiveError(f"{name}: cannot be read on ({error}). Is the download complete? Fetch it again.") from error


def _object(name: str, number: int, value: Any) -> Row:
    if isinstance(value, dict):
        return Row(name, number, value)
    return Row(name, number, {}, f"expected a JSON object, found {type(value).__name__}")


def read_jsonl(path: Path, name: str) -> Iterator[Row]:
    """Rows of a file with one JSON object a line; blank lines are passed over but counted.

    Raises:
        ArchiveError: the file is not UTF-8, or a line is longer than `MAX_ROW_CHARS`.
    """
    with _named_errors(name), path.open(encoding="utf-8-sig") as handle:
        number = -1
        while line := handle.readline(MAX_ROW_CHARS + 1):
            number += 1
            if len(line) > MAX_ROW_CHARS:
                raise ArchiveError(f"{name}: line {number + 1} is longer than {MAX_ROW_CHARS} characters. Refused.")
            if not line.strip():
                continue
            try:
                yield _object(name, number, json.loads(line))
            except (ValueError, RecursionError) as error:
                yield Row(name, number, {}, f"not JSON ({error})")


class _Window:
    """A sliding piece of a text file, for a decoder that needs a whole value in memory."""

    def __init__(self, handle: TextIO, name: str) -> None:
        self._handle = handle
        self._name = name
        self._ended = False
        self.text = ""

    def more(self) -> bool:
        """Read one chunk more; False at the end of the file."""
        piece = "" if self._ended else self._handle.read(CHUNK_CHARS)
        self._ended = not piece
        self.text += piece
        return bool(piece)

    def skip(self, characters: str) -> str:
        """Pass over any of `characters`; the character that follows, empty at the end of the file."""
        self.text = self.text.lstrip(characters)
        while not self.text and self.more():
            self.text = self.text.lstrip(characters)
        return self.text[:1]

    def value(self, decoder: json.JSONDecoder) -> Any:
        """The JSON value that begins here."""
        while True:
            try:
                value, end = decoder.raw_decode(self.text)
            except (ValueError, RecursionError) as error:
                if len(self.text) > MAX_ROW_CHARS or not self.more():
                    raise ArchiveError(f"{self._name}: broken or oversized JSON ({error}). Fetch it again.") from error
            else:
                if end < len(self.text) or not self.more():  # a number may go on in the next chunk
                    self.text = self.text[end:]
                    return value


def read_json_array(path: Path, name: str) -> Iterator[Row]:
    """Rows of a file that holds one JSON array of objects, a value at a time.

    Raises:
        ArchiveError: the file is no JSON array or breaks off.
    """
    decoder = json.JSONDecoder()
    with _named_errors(name), path.open(encoding="utf-8-sig") as handle:
        window = _Window(handle, name)
        if window.skip(_BLANKS) != "[":
            raise ArchiveError(f"{name}: begins with {window.text[:20]!r}, expected a JSON array. Fetch it again.")
        window.text = window.text[1:]
        number = 0
        while window.skip(_BLANKS) != "]":
            yield _object(name, number, window.value(decoder))
            number += 1
            following = window.skip(_BLANKS)
            if following not in (",", "]") or not following:
                raise ArchiveError(f"{name}: breaks off after {number} rows. Is the download complete? Fetch it again.")
            if following == ",":
                window.text = window.text[1:]


def read_csv(path: Path, name: str) -> Iterator[Row]:
    """Rows of a CSV file with a header, gzipped if its name ends in `.gz`.

    Every value stays a string: `NA`, `None` and the empty string are what the publisher wrote.

    Raises:
        ArchiveError: the file is empty, not UTF-8, breaks off, or holds a field above 128 KiB.
    """
    with _named_errors(name), _open_text(path) as handle:
        lines = csv.reader(handle, strict=True)
        header = next(lines, None)
        if not header or len(set(header)) != len(header):
            raise ArchiveError(f"{name}: header is {header}; expected distinct column names in the first line.")
        for number, fields in enumerate(lines):
            if len(fields) != len(header):
                yield Row(name, number, {}, f"{len(fields)} fields where the header has {len(header)}")
            else:
                yield Row(name, number, dict(zip(header, fields, strict=True)))


def _open_text(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")
