"""Gzipped tars read from the middle: seek points, kept beside raw's index, and stretches between them.

A seek point holds what unpacking needs to begin there. Reading one place unpacks from the point before it; reading
places in their order unpacks each stretch between two points once and holds it in memory. Which places there are is
`archives.py`, and that the file is whole is known since it was listed.
"""

from __future__ import annotations

from bisect import bisect_right
from pathlib import Path
from threading import Lock
from typing import Any, Final

from medmax_pipeline.errors import ArchiveError
from medmax_pipeline.files import open_atomic
from medmax_pipeline.ingest.parts import Joined, Window

SEEK_SPACING: Final = 4 << 20
"""Ours: least bytes of the unpacked stream between two seek points; each point holds 32 KiB."""
SEEK_POINTS: Final = 2048
"""Ours: about how many points a big archive of pictures, which hardly compress, has: 90 GB need some 80 MB of them, and
one read from the middle unpacks 22 MB on average."""
LONGEST_STRETCH: Final = 4
"""Ours: a stretch of more than so many spacings, a stream without inner boundaries, is not held in memory."""


def seek_file(folder: Path, file: str) -> Path:
    """Where the seek points of a gzipped tar are kept below `folder`."""
    return folder / f"{file}.gzidx"


def spacing_of(joined: Joined) -> int:
    """Bytes of the unpacked stream between two seek points."""
    return max(SEEK_SPACING, joined.bytes // SEEK_POINTS)


def _open(joined: Joined) -> Any:
    from indexed_gzip import IndexedGzipFile

    return IndexedGzipFile(fileobj=Window(joined), spacing=spacing_of(joined), buffer_size=1 << 16)


def write_seek_points(joined: Joined, out: Path) -> None:
    """Find the seek points and keep them.

    Args:
        joined: a gzipped file that is known to be whole.
        out: the file to write; the same file gives the same bytes.

    Raises:
        ArchiveError: it cannot be unpacked any more.
    """
    with _open(joined) as stream:
        try:
            stream.build_full_index()
            with open_atomic(out) as handle:
                stream.export_index(fileobj=handle)
        except OSError as error:
            raise ArchiveError(f"{joined.name}: changed while it was indexed ({error}). Run again.") from error


class Unpacked:
    """The unpacked stream of a gzipped file, read by position. Safe to share between threads, which take turns."""

    def __init__(self, joined: Joined, points: Path | None) -> None:
        """Args:
        joined: the file, which stays the caller's to close.
        points: its seek points; without them each read may unpack all that stands before it.
        """
        self._stream = _open(joined)
        if points is not None and points.is_file():
            self._stream.import_index(filename=str(points))
        self._starts = [start for start, _ in self._stream.seek_points()] or [0]
        self._longest = LONGEST_STRETCH * spacing_of(joined)
        self._lock = Lock()
        self._held = b""
        self._holds = self._last = -1

    def close(self) -> None:
        """Let the stretch in memory go."""
        self._stream.close()
        self._held = b""

    def read_at(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset`, fewer only at the end.

        Raises:
            OSError: it does not unpack.
        """
        found = []
        with self._lock:
            while size > 0:
                stretch = bisect_right(self._starts, offset) - 1
                data = self._within(stretch, offset, size)
                if not data:
                    break
                found.append(data)
                offset, size = offset + len(data), size - len(data)
        return found[0] if len(found) == 1 else b"".join(found)

    def _within(self, stretch: int, offset: int, size: int) -> bytes:
        """Bytes of one stretch: held, held from now on if the one before was asked for last, or read alone."""
        start = self._starts[stretch]
        last = stretch + 1 == len(self._starts)
        length = self._longest if last else self._starts[stretch + 1] - start
        in_order = self._last in (stretch, stretch - 1) and length <= self._longest
        self._last = stretch
        if stretch != self._holds and in_order:
            self._holds, self._held = -1, b""
            self._held = self._unpack(start, length)
            self._holds = stretch
        within = offset - start
        if stretch == self._holds and within < len(self._held):
            return self._held[within : within + size]
        return self._unpack(offset, size if last else min(size, length - within))

    def _unpack(self, offset: int, size: int) -> bytes:
        raw = self._stream.raw  # its own buffer would be filled by several reads, each from the point before
        raw.seek(offset)
        return bytes(raw.read(size))
