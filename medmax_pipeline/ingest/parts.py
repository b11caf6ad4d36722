"""Files that a publisher cut into pieces, read as the one file they are: `images.tar.gz.aa`, `.ab`, …

Reading is by position, so that threads share one open file. What the bytes mean belongs to `archives.py` and
`places.py`. Nothing is joined on disk.
"""

from __future__ import annotations

import io
import os
import re
from bisect import bisect_right
from collections.abc import Collection, Sequence
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final

from medmax_pipeline.errors import ArchiveError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_PIECE: Final = re.compile(r"(?P<whole>.+\.(?:tar|tar\.gz|tgz))\.(?!gz|xz)(?P<letters>[a-z]{2})")
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"


def whole_of(name: str) -> str:
    """Name of the archive that a piece belongs to; empty for a file that is no piece."""
    found = _PIECE.fullmatch(name)
    return found["whole"] if found else ""


def pieces_of(whole: str, names: Collection[str]) -> tuple[list[str], list[str]]:
    """The pieces of an archive in order, and the names of those that must stand between them and do not.

    Args:
        whole: the archive's name without the letters.
        names: all files there are.

    Returns:
        found and missing; a piece behind the last one found cannot be known to be missing.
    """
    letters = {name[len(whole) + 1 :] for name in names if whole_of(name) == whole}
    last = max(letters)
    every = [a + b for a in _LETTERS for b in _LETTERS if a + b <= last]
    missing = [f"{whole}.{item}" for item in every if item not in letters]
    return [f"{whole}.{item}" for item in every if item in letters], missing


def complete_pieces(whole: str, names: Collection[str]) -> list[str]:
    """The pieces of an archive in order.

    Raises:
        ArchiveError: one is missing; the message names it.
    """
    found, missing = pieces_of(whole, names)
    if missing:
        shown = (
            f"{missing[0]} is missing" if len(missing) == 1 else f"{missing[0]} and {len(missing) - 1} more are missing"
        )
        raise ArchiveError(f"{whole}: {shown} between its other pieces. Fetch them.")
    return found


class Joined:
    """One file, or the pieces of one, open for reading by position. Safe to share between threads."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Open the pieces in order.

        Raises:
            OSError: one cannot be opened.
        """
        self.name = paths[0].name
        self._files: list[io.FileIO] = []
        try:
            for path in paths:
                self._files.append(io.FileIO(path))
        except OSError:
            self.close()
            raise
        sizes = [os.fstat(file.fileno()).st_size for file in self._files]
        self._starts = [0, *accumulate(sizes)]
        self.bytes = self._starts[-1]

    def __enter__(self) -> Joined:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close every piece."""
        for file in self._files:
            file.close()

    def read_at(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset`, fewer only at the end."""
        found = []
        while size > 0 and 0 <= offset < self.bytes:
            piece = bisect_right(self._starts, offset) - 1
            within = offset - self._starts[piece]
            data = os.pread(self._files[piece].fileno(), min(size, self._starts[piece + 1] - offset), within)
            if not data:
                raise ArchiveError(f"{self.name}: shrank while it was being read. Let it settle and run again.")
            found.append(data)
            offset += len(data)
            size -= len(data)
        return found[0] if len(found) == 1 else b"".join(found)


class Window(io.RawIOBase):
    """A stretch of a `Joined` as a file object of its own, with its own position."""

    def __init__(self, joined: Joined, start: int = 0, size: int | None = None) -> None:
        """Args: start and size in bytes; size None: to the end."""
        self._joined = joined
        self._start = start
        self._size = joined.bytes - start if size is None else size
        self._at = 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Bytes from the start of the stretch."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move; behind the end is allowed and reads nothing."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, origin + offset)
        return self._at

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill `buffer` from here on."""
        view = memoryview(buffer).cast("B")
        size = min(len(view), max(0, self._size - self._at))
        data = self._joined.read_at(self._start + self._at, size)
        view[: len(data)] = data
        self._at += len(data)
        return len(data)
