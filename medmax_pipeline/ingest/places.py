"""Where the bytes of a file or a picture lie, and reading them there: nothing is ever unpacked to disk.

Five kinds: `loose` files, members of a `zip`, of a plain `tar`, of a gzipped tar (`gz`), and values of a `parquet`
column. An archive cut into pieces is one file here, called by its first piece. Which places there are belongs to
`archives.py` and `index.py`, whether bytes are a picture to `images.py`. Not covered: archives inside archives.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal, NamedTuple, cast, get_args

from medmax_pipeline.errors import ArchiveError, ImageError
from medmax_pipeline.files import inside
from medmax_pipeline.ingest.embedded import Embedded
from medmax_pipeline.ingest.gz import Unpacked, seek_file
from medmax_pipeline.ingest.parts import Joined, Window, complete_pieces, whole_of

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

PlaceKind = Literal["loose", "zip", "tar", "gz", "parquet"]
KINDS: Final[tuple[PlaceKind, ...]] = get_args(PlaceKind)
SEEK: Final = "seek"
"""Folder of seek points beside a table of places."""
BUFFER_BYTES: Final = 1 << 20
"""Ours: bytes read ahead in a stream over a member."""
_LOCAL_HEADER: Final = 30
"""Bytes of a zip's local header before the name; the lengths of name and extra field are its last four."""
UNREADABLE: Final = (zipfile.BadZipFile, zlib.error, EOFError, LookupError, RuntimeError, OSError, ValueError)
"""What unpacking raises on broken content."""


class Place(NamedTuple):
    """Where the bytes of one file lie."""

    file: str
    """Relative to the landing folder, with `/`; of an archive in pieces its first piece."""
    member: str
    """Name inside the archive; `<column>/<row>` inside a table; empty: the file itself."""
    kind: PlaceKind
    offset: int
    """zip: the local header; tar: the data; gz: the data in the unpacked stream; parquet: the row; loose: 0."""
    packed: int
    """Bytes in the file; where the format does not say, the same as `bytes`."""
    bytes: int
    crc: int
    """CRC-32 of the unpacked bytes for zip, 0 elsewhere."""

    @property
    def name(self) -> str:
        """`file`, or `file::member`."""
        return f"{self.file}::{self.member}" if self.member else self.file


class Files:
    """Reads places of one landing folder; archives stay open until `close`. Safe to share between threads."""

    def __init__(self, folder: Path, seek: Path | None) -> None:
        """Args:
        folder: the landing folder.
        seek: folder of the gzipped tars' seek points; without them a read unpacks all that stands before it.
        """
        self._folder = folder
        self._seek = seek
        self._opening = Lock()
        self._joined: dict[str, Joined] = {}
        self._gz: dict[str, Unpacked] = {}
        self._tables: dict[str, Embedded] = {}

    def __enter__(self) -> Files:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close every archive and table."""
        for unpacked in self._gz.values():
            unpacked.close()
        for table in self._tables.values():
            table.close()
        for joined in self._joined.values():
            joined.close()
        self._gz.clear()
        self._tables.clear()
        self._joined.clear()

    @staticmethod
    def sequential(place: Place) -> bool:
        """Whether reading is cheap only in the archive's order, from one thread: gzipped tars and tables."""
        return place.kind in ("gz", "parquet")

    def read(self, place: Place, limit: int) -> bytes:
        """The whole bytes of one place.

        Args:
            place: as raw's index has it.
            limit: most bytes that are accepted.

        Raises:
            ImageError: `image_missing`, `image_too_large` or `image_unreadable`.
            ArchiveError: the path leaves the folder, or the archive is not what it was when it was indexed.
        """
        if place.bytes > limit:
            raise ImageError("image_too_large", f"{place.name!r}: {place.bytes} bytes, limit {limit}")
        try:
            data = self._read(place, limit)
        except FileNotFoundError:
            raise ImageError("image_missing", f"{place.file!r}: no such file in {self._folder.name}/") from None
        except UNREADABLE as error:
            raise ImageError("image_unreadable", f"{place.name!r}: does not unpack ({error})") from error
        if len(data) > limit:
            raise ImageError("image_too_large", f"{place.name!r}: more than {limit} bytes")
        if place.kind != "loose" and len(data) != place.bytes:
            raise ImageError("image_unreadable", f"{place.name!r}: {len(data)} bytes where {place.bytes} should be")
        return data

    def _read(self, place: Place, limit: int) -> bytes:
        if place.kind == "loose":
            with inside(self._folder, place.file).open("rb") as handle:
                return handle.read(limit + 1)
        if place.kind == "zip":
            with self._unzip(place) as member:
                return member.read(place.bytes + 1)
        if place.kind == "tar":
            return self._container(place.file).read_at(place.offset, place.bytes)
        if place.kind == "gz":
            return self._shared(place.file).read_at(place.offset, place.bytes)
        return self._table(place.file).read(place.member.rpartition("/")[0], place.offset)

    def open(self, place: Place) -> BinaryIO:
        """A stream over one place, for files of rows; to be closed by the caller.

        Raises:
            ArchiveError: it cannot be opened, or is a picture inside a table. While reading, a broken member shows as
                `zipfile.BadZipFile`, `zlib.error`, `EOFError` or `OSError`.
        """
        try:
            if place.kind == "loose":
                return inside(self._folder, place.file).open("rb")
            if place.kind == "zip":
                return cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, self._unzip(place))))
            if place.kind == "tar":
                window = Window(self._container(place.file), place.offset, place.bytes)
                return cast(BinaryIO, io.BufferedReader(window, BUFFER_BYTES))
            if place.kind == "gz":
                return cast(BinaryIO, io.BufferedReader(_Stream(self._unpacked(place.file), place), BUFFER_BYTES))
        except UNREADABLE as error:
            raise ArchiveError(f"{place.name}: cannot be opened ({error}). Fetch it again.") from error
        raise ArchiveError(f"{place.name}: is a value inside a table, not a file of rows.")

    def _container(self, file: str) -> Joined:
        with self._opening:
            if file not in self._joined:
                self._joined[file] = open_container(self._folder, file)
            return self._joined[file]

    def _unzip(self, place: Place) -> zipfile.ZipExtFile:
        joined = self._container(place.file)
        header = joined.read_at(place.offset, _LOCAL_HEADER)
        if len(header) < _LOCAL_HEADER or not header.startswith(b"PK\x03\x04"):
            raise zipfile.BadZipFile(f"no member begins at byte {place.offset}")
        info = zipfile.ZipInfo(place.member)
        info.compress_type = int.from_bytes(header[8:10], "little")
        info.compress_size, info.file_size, info.CRC = place.packed, place.bytes, place.crc
        names = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        window = Window(joined, place.offset + _LOCAL_HEADER + names, place.packed)
        return zipfile.ZipExtFile(cast(Any, window), "r", info, None, True)

    def _unpacked(self, file: str) -> Unpacked:
        return Unpacked(self._container(file), None if self._seek is None else seek_file(self._seek, file))

    def _shared(self, file: str) -> Unpacked:
        """The unpacked stream that all who read places of a file share."""
        known = self._gz.get(file)
        if known is None:
            opened = self._unpacked(file)
            with self._opening:
                known = self._gz.setdefault(file, opened)
            if known is not opened:
                opened.close()
        return known

    def _table(self, file: str) -> Embedded:
        joined = self._container(file)
        with self._opening:
            if file not in self._tables:
                self._tables[file] = Embedded(cast(BinaryIO, Window(joined)), file)
            return self._tables[file]


def open_container(folder: Path, file: str) -> Joined:
    """An archive of the folder, with all its pieces where it is the first of some.

    Raises:
        ArchiveError: a piece is missing, or a path leaves the folder.
        OSError: it cannot be opened.
    """
    path = inside(folder, file)
    whole = whole_of(path.name)
    if not whole:
        return Joined([path])
    names = [each.name for each in path.parent.iterdir() if whole_of(each.name) == whole]
    return Joined([inside(folder, str(Path(file).with_name(name))) for name in complete_pieces(whole, names)])


class _Stream(io.RawIOBase):
    """One member of an unpacked stream of its own."""

    def __init__(self, unpacked: Unpacked, place: Place) -> None:
        self._unpacked = unpacked
        self._at = place.offset
        self._end = place.offset + place.bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        data = self._unpacked.read_at(self._at, min(len(view), self._end - self._at))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._unpacked.close()
        super().close()
