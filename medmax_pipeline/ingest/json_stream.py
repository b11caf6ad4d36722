"""Rows out of one big JSON value, an array or lists inside objects, in bounded memory and in time linear in its length.

A value is decoded at a time; behind a broken one no row can be told from its neighbour, so that the file cannot be read
on. What makes a decoded value a row is `rows.py`, where files of lines are read.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from medmax_pipeline.errors import ArchiveError
from medmax_pipeline.ingest import rows
from medmax_pipeline.sources.record import Row

MAX_KEYS: Final = 8
"""Ours: objects around a list of rows; published files have up to 2."""
_NO_BLANK: Final = re.compile(r"[^ \t\r\n]")
_COMMA: Final = re.compile(r"[ \t\r\n]*,[ \t\r\n]*(?=[^ \t\r\n])")
_DECODER: Final = json.JSONDecoder()
_PASSING: Final = json.JSONDecoder(parse_int=str)
"""Finds the end of a value whose integers have more digits than Python converts."""


class _Text:
    """A JSON text that slides through memory, and the place in it where its reader stands.

    What is read is let go of once a piece, not once a row, so that reading is linear in the length of the file.
    """

    def __init__(self, handle: BinaryIO, name: str) -> None:
        self.name = name
        self.rows = 0
        """Rows given so far."""
        self._pieces = rows.pieces(handle, name)
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._text = ""
        self._at = 0

    def _more(self) -> bool:
        """Take one piece more; False at the end of the file."""
        piece = next(self._pieces, b"")
        self._text = self._text[self._at :] + self._decoder.decode(piece, final=not piece)
        self._at = 0
        return bool(piece)

    def peek(self) -> str:
        """Pass over blanks; the character that follows, empty at the end of the file."""
        while True:
            found = _NO_BLANK.search(self._text, self._at)
            if found:
                self._at = found.start()
                return found[0]
            self._at = len(self._text)
            if not self._more():
                return ""

    def take(self, character: str, otherwise: str) -> None:
        """Pass over blanks and one character.

        Raises:
            ArchiveError: another one stands there; `otherwise` says what that means.
        """
        if self.peek() != character:
            found = repr(self._text[self._at : self._at + 20]) if self._text[self._at :] else "the end of the file"
            raise ArchiveError(f"{self.name}: {otherwise}: expected {character!r}, found {found}. Fetch it again.")
        self._at += 1

    def _follows(self, closing: str) -> bool:
        """Whether a member follows the one just read; its comma, or the bracket that closes, is passed over."""
        if self.peek() == ",":
            self._at += 1
            self.peek()
            return True
        self.take(closing, f"breaks off after {self.rows} rows")
        return False

    def key(self) -> str:
        """The key that begins here, after blanks, and its colon."""
        if self.peek() != '"':
            self.take('"', f"no key after {self.rows} rows")
        key = self._decode()[0]
        if not rows.writable(key):
            raise ArchiveError(f"{self.name}: key {key!r} holds half of a surrogate pair. Fetch it again.")
        self.take(":", f"no value for key {key[:80]!r}")
        return str(key)

    def row(self) -> Row:
        """The value that begins here as the next row."""
        value, start, fault = self._decode()
        number = self.rows
        self.rows += 1
        if fault:
            return Row(self.name, number, {}, fault)
        return rows.object_row(self.name, number, value, self._text, start, self._at)

    def _decode(self) -> tuple[Any, int, str]:
        """The value that begins here, where it began, and why it cannot be used."""
        fault = ""
        decoder = _DECODER
        while True:
            try:
                value, end = decoder.raw_decode(self._text, self._at)
            except (json.JSONDecodeError, RecursionError) as error:
                hopeless = isinstance(error, RecursionError) or len(self._text) - self._at > rows.MAX_ROW_CHARS
                if hopeless or not self._more():
                    raise ArchiveError(
                        f"{self.name}: row {self.rows}: broken or oversized JSON ({error}). Fetch it again."
                    ) from error
            except ValueError as error:
                fault, decoder = str(error), _PASSING
            else:
                if end < len(self._text) or not self._more():  # a number may go on in the next piece
                    break
        if end - self._at > rows.MAX_ROW_CHARS:
            raise ArchiveError(f"{self.name}: row {self.rows} is longer than {rows.MAX_ROW_CHARS} characters. Refused.")
        start, self._at = self._at, end
        return value, start, fault

    def members(self, closing: str) -> Iterator[None]:
        """Stand before each member of a list or object that was just opened, then behind its closing bracket."""
        if self.peek() == closing:
            self._at += 1
            return
        while True:
            yield
            found = _COMMA.match(self._text, self._at)
            if found:
                self._at = found.end()
            elif not self._follows(closing):
                return

    def finish(self) -> None:
        """Raises: ArchiveError: something follows."""
        if self.peek():
            raise ArchiveError(f"{self.name}: goes on after its closing bracket. Expected one JSON value. Fetch again.")


def read_json_array(handle: BinaryIO, name: str) -> Iterator[Row]:
    """Rows of a file that holds one JSON array of objects, a value at a time.

    Args:
        handle: the open file.
        name: what rows and errors call it.

    Raises:
        ArchiveError: the file is no JSON array, is broken or goes on after it; behind a broken value no row can be
            told from its neighbour.
    """
    with rows.named_errors(name):
        text = _Text(handle, name)
        text.take("[", "no JSON array")
        for _ in text.members("]"):
            yield text.row()
        text.finish()


def read_json_lists(handle: BinaryIO, name: str) -> Iterator[tuple[tuple[str, ...], Row]]:
    """Rows of a file that holds lists of objects inside objects, each with its keys from the root down.

    What is neither a list nor an object there is a row with a fault. Rows are numbered through the whole file.

    Args:
        handle: the open file.
        name: what rows and errors call it.

    Raises:
        ArchiveError: the file is no JSON object, is broken, goes on after it, or has more than `MAX_KEYS` objects
            around a list.
    """
    with rows.named_errors(name):
        text = _Text(handle, name)
        if text.peek() != "{":
            text.take("{", "no JSON object")
        yield from _lists(text, ())
        text.finish()


def _lists(text: _Text, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Row]]:
    opening = text.peek()
    if opening == "[":
        text.take("[", "no list")
        for _ in text.members("]"):
            yield keys, text.row()
    elif opening == "{":
        if len(keys) >= MAX_KEYS:
            raise ArchiveError(
                f"{text.name}: more than {MAX_KEYS} objects around a list, at {'/'.join(keys)}. Refused."
            )
        text.take("{", "no object")
        for _ in text.members("}"):
            yield from _lists(text, (*keys, text.key()))
    else:
        row = text.row()
        yield keys, row._replace(values={}, fault=row.fault or "expected a list of objects")
