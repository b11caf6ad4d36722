"""What lies inside archives: every member with its place, or why it is never read.

What an archive claims is not believed: a member with a hostile name, a twin, a password, a link or the ratio of a bomb
is listed with its fault; an archive that breaks off, overlaps itself or swells absurdly is refused as a whole. Reading
members belongs to `places.py`. An archive inside an archive is a file like any other.
"""

from __future__ import annotations

import gzip
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO, Final, NamedTuple, cast

from medmax_pipeline.errors import ArchiveError
from medmax_pipeline.ingest.parts import Joined, Window, whole_of
from medmax_pipeline.ingest.places import UNREADABLE, Place, PlaceKind, open_container

MAX_RATIO: Final = 200
"""Ours: unpacked over packed size, above which a member over `RATIO_FREE_BYTES` is taken for a bomb; a gzipped tar is
refused as a whole."""
RATIO_FREE_BYTES: Final = 1 << 20
TAR_FREE_BYTES: Final = 256 << 20
"""Ours: a gzipped tar may unpack to this whatever its ratio; small ones of equal rows compress well."""
MAX_HEADER_BYTES: Final = 1 << 20
"""Ours: longer headers of one member of a tar hold more than a file's name."""
CHUNK_BYTES: Final = 1 << 20
_ENCRYPTED: Final = 0x1
_UTF8: Final = 0x800
_TAR_BLOCK: Final = 512
_PACKINGS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

MEMBER_UNSAFE: Final = "member_unsafe_path"
MEMBER_DUPLICATE: Final = "member_duplicate"
MEMBER_ENCRYPTED: Final = "member_encrypted"
MEMBER_LINK: Final = "member_link"
MEMBER_NO_FILE: Final = "member_no_plain_file"
MEMBER_BOMB: Final = "member_bomb"
MEMBER_PACKING: Final = "member_unknown_packing"
MEMBER_NAME: Final = "member_name_not_text"

_ADVICE: Final = "Is the download complete? Fetch it again."


class Member(NamedTuple):
    """One file inside an archive; `fault` says why it is never read."""

    place: Place
    fault: str = ""


def kind_of(folder: Path, file: str) -> PlaceKind:
    """How a file of the landing folder is read.

    The name says whether it is an archive (`.zip`, `.tar`, `.tar.gz`, `.tgz`, those in pieces, `.parquet`), its first
    bytes say which: a gzipped tar called `.tar` is met in the wild. Any other name is a loose file, whatever it holds.

    Raises:
        ArchiveError: the content is none of these, a piece is missing, or the path leaves the folder.
    """
    name = (whole_of(file) or file).lower()
    if not name.endswith((".zip", ".tar", ".tar.gz", ".tgz", ".parquet")):
        return "loose"
    with open_container(folder, file) as joined:
        head = joined.read_at(0, _TAR_BLOCK)
    wanted: PlaceKind = "zip" if name.endswith(".zip") else "parquet" if name.endswith(".parquet") else "tar"
    if wanted == "zip" and head.startswith(b"PK"):
        return "zip"
    if wanted == "parquet" and head.startswith(b"PAR1"):
        return "parquet"
    if wanted == "tar" and head.startswith(b"\x1f\x8b"):
        return "gz"
    if wanted == "tar" and len(head) == _TAR_BLOCK and (name.endswith(".tar") or head[257:262] == b"ustar"):
        return "tar"
    raise ArchiveError(f"{file}: not readable as a {wanted} (it begins with {head[:16]!r}). {_ADVICE}")


def list_members(folder: Path, file: str, kind: PlaceKind) -> Iterator[Member]:
    """Every member but the folders, in the archive's order; twins are not marked here.

    Args:
        folder: the landing folder.
        file: an archive or a table, of several pieces the first.
        kind: what `kind_of` said.

    Raises:
        ArchiveError: the archive as a whole cannot be read or trusted.
    """
    listed = {"zip": _list_zip, "tar": _list_tar, "gz": _list_gz, "parquet": _list_table}[kind]
    with open_container(folder, file) as joined:
        yield from listed(file, joined)


def _unsafe(name: str) -> bool:
    """Whether a member's name leads out of its archive."""
    path = PurePosixPath(name)
    drive = len(name) > 1 and name[1] == ":"
    return not name or drive or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name


def _plain(name: str) -> str:
    """A member's name without a leading `./`."""
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    return name


def _list_zip(file: str, joined: Joined) -> Iterator[Member]:
    try:
        archive = zipfile.ZipFile(cast(IO[bytes], Window(joined)))
    except (*UNREADABLE, OverflowError) as error:
        raise ArchiveError(f"{file}: not readable as a zip ({error}). {_ADVICE}") from error
    with archive:
        entries = archive.filelist
        archive.NameToInfo.clear()
        _check_overlap(file, joined, entries)
        entries.reverse()
        while entries:  # what is listed is let go: a directory of a million members is a gigabyte
            info = entries.pop()
            if not info.is_dir():
                name = _plain(_zip_name(info))
                place = Place(file, name, "zip", info.header_offset, info.compress_size, info.file_size, info.CRC)
                yield Member(place, _zip_fault(info, name))


def _check_overlap(file: str, joined: Joined, entries: list[zipfile.ZipInfo]) -> None:
    import numpy as np

    claimed = sum(info.compress_size for info in entries)
    if claimed > joined.bytes:
        raise ArchiveError(f"{file}: members claim {claimed} packed bytes in a file of {joined.bytes}; refused.")
    starts = np.fromiter((info.header_offset for info in entries), np.int64, len(entries))
    sizes = np.fromiter((info.compress_size for info in entries), np.int64, len(entries))
    order = np.argsort(starts, kind="stable")
    ends = starts[order] + sizes[order] + 30  # a local header has 30 bytes and a name
    if len(starts) and (starts.min() < 0 or ends[-1] > joined.bytes or (ends[:-1] > starts[order][1:]).any()):
        raise ArchiveError(f"{file}: its members overlap each other or its end. Refused. {_ADVICE}")


def _zip_name(info: zipfile.ZipInfo) -> str:
    """The name as UTF-8 where its bytes are, flagged or not; else as cp437, as the format has it."""
    if info.flag_bits & _UTF8:
        return info.orig_filename
    try:
        return info.orig_filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.orig_filename


def _zip_fault(info: zipfile.ZipInfo, name: str) -> str:
    if _unsafe(name):
        return MEMBER_UNSAFE
    if info.flag_bits & _ENCRYPTED:
        return MEMBER_ENCRYPTED
    mode = info.external_attr >> 16
    if stat.S_ISLNK(mode):
        return MEMBER_LINK
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return MEMBER_NO_FILE
    if info.compress_type not in _PACKINGS:
        return MEMBER_PACKING
    if info.file_size > RATIO_FREE_BYTES and info.file_size > MAX_RATIO * max(info.compress_size, 1):
        return MEMBER_BOMB
    return ""


class _Forward:
    """A tar's bytes for `tarfile`: read once from the start, watched for swelling and for headers without end."""

    def __init__(self, file: str, stream: IO[bytes], packed: Window | None) -> None:
        self._file = file
        self._stream = stream
        self._packed = packed
        self._at = 0
        self.last = b""
        """What the last read gave."""
        self.header_bytes = 0
        """Asked for since the last member began."""

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        self.header_bytes += size
        if not 0 <= size <= self.header_bytes <= MAX_HEADER_BYTES:
            raise ArchiveError(f"{self._file}: a member's headers claim more than {MAX_HEADER_BYTES} bytes. Refused.")
        self.last = self._take(size)
        return self.last

    def seek(self, offset: int) -> int:
        if self._packed is None:
            self._at = self._stream.seek(offset)
        while self._at < offset and self._take(min(CHUNK_BYTES, offset - self._at)):
            pass
        return self._at

    def drain(self) -> None:
        """Read on to the end, so that the stream's checksum is checked."""
        while self._packed is not None and self._take(CHUNK_BYTES):
            pass

    def _take(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._at += len(data)
        if self._packed and self._at > TAR_FREE_BYTES and self._at > MAX_RATIO * self._packed.tell():
            raise ArchiveError(
                f"{self._file}: {self._packed.tell()} packed bytes give {self._at} and more; taken for a bomb. Refused."
            )
        return data


def _list_tar(file: str, joined: Joined) -> Iterator[Member]:
    with Window(joined) as window:
        yield from _walk_tar(file, "tar", _Forward(file, cast(IO[bytes], window), None))


def _list_gz(file: str, joined: Joined) -> Iterator[Member]:
    with Window(joined) as packed, gzip.GzipFile(fileobj=packed) as stream:
        yield from _walk_tar(file, "gz", _Forward(file, cast(IO[bytes], stream), packed))


def _walk_tar(file: str, kind: PlaceKind, source: _Forward) -> Iterator[Member]:
    try:
        with tarfile.open(fileobj=cast(Any, source), mode="r:", encoding="utf-8", errors="surrogateescape") as archive:
            while (info := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # else they pile up
                source.header_bytes = 0
                if info.size < 0:  # the next header would be an earlier one, for ever
                    raise ArchiveError(f"{file}: {info.name!r} claims {info.size} bytes. Refused.")
                if not info.isdir():
                    yield _tar_member(file, kind, info)
            if source.last != bytes(_TAR_BLOCK):
                raise ArchiveError(f"{file}: breaks off at byte {source.tell()} without an end mark. {_ADVICE}")
            source.drain()
    except (tarfile.TarError, *UNREADABLE) as error:
        raise ArchiveError(
            f"{file}: cannot be read on as a tar at byte {source.tell()} ({error}). {_ADVICE}"
        ) from error


def _tar_member(file: str, kind: PlaceKind, info: tarfile.TarInfo) -> Member:
    name, fault = _plain(info.name), ""
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        name = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        fault = MEMBER_NAME
    elif _unsafe(name):
        fault = MEMBER_UNSAFE
    elif info.issym() or info.islnk():
        fault = MEMBER_LINK
    elif not info.isreg() or info.sparse is not None:
        fault = MEMBER_NO_FILE
    return Member(Place(file, name, kind, info.offset_data, info.size, info.size, 0), fault)


def _list_table(file: str, joined: Joined) -> Iterator[Member]:
    """The pictures of a table: values of columns of bytes, or of structs with a child `bytes`; nulls are left out."""
    import pyarrow as pa

    from medmax_pipeline.ingest.embedded import Embedded

    try:
        with Window(joined) as window:
            for column, row, size in Embedded(cast(BinaryIO, window), file).sizes():
                yield Member(Place(file, f"{column}/{row}", "parquet", row, size, size, 0))
    except (pa.ArrowException, OSError, LookupError) as error:
        raise ArchiveError(f"{file}: not readable as Parquet ({error}). {_ADVICE}") from error
