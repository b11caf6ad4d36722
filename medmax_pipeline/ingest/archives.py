"""Pictures where they lie: loose in a landing folder, or in a zip that is never unpacked.

Members are read in place through the archive's own index. What an archive claims is not believed: a member with a
hostile name, a twin, a password, a link or the ratio of a bomb is listed with its reason and never read. Whether bytes
are a picture belongs to `images.py`. Not covered: archives inside archives, tar (a source that ships one adds it here).
"""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from threading import Lock
from types import TracebackType
from typing import Final, NamedTuple

from medmax_pipeline.errors import ArchiveError, ImageError
from medmax_pipeline.files import inside
from medmax_pipeline.records import ImageRef

MAX_PICTURE_BYTES: Final = 256 << 20
"""Ours: a larger file is no picture of these sources; the largest radiographs have some 5 MB as JPEG."""
MAX_RATIO: Final = 200
"""Ours: unpacked over packed size, above which a member over `RATIO_FREE_BYTES` is taken for a bomb."""
RATIO_FREE_BYTES: Final = 1 << 20
_ENCRYPTED: Final = 0x1

MEMBER_UNSAFE: Final = "member_unsafe_path"
MEMBER_DUPLICATE: Final = "member_duplicate"
MEMBER_ENCRYPTED: Final = "member_encrypted"
MEMBER_LINK: Final = "member_link"
MEMBER_BOMB: Final = "member_bomb"
MEMBER_TOO_LARGE: Final = "member_too_large"


class Member(NamedTuple):
    """One file inside an archive; `fault` says why it is never read."""

    name: str
    bytes: int
    fault: str = ""


def is_archive(file: str) -> bool:
    """Whether a file of the landing folder is an archive, by its name."""
    return file.lower().endswith(".zip")


def open_zip(path: Path) -> zipfile.ZipFile:
    """Open a zip and check its outline.

    Raises:
        ArchiveError: it is no zip or breaks off, or members claim more packed bytes than the file has.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
        raise ArchiveError(
            f"{path.name}: not readable as a zip ({error}). Is the download complete? Fetch it again."
        ) from error
    claimed = sum(info.compress_size for info in archive.infolist())
    size = path.stat().st_size
    if claimed > size:
        archive.close()
        raise ArchiveError(
            f"{path.name}: members claim {claimed} packed bytes in a file of {size}; they overlap. Refused."
        )
    return archive


def list_members(archive: zipfile.ZipFile) -> Iterator[Member]:
    """Every member but the folders, in the order of the index."""
    twins = Counter(info.filename for info in archive.infolist())
    for info in archive.infolist():
        if not info.is_dir():
            fault = MEMBER_DUPLICATE if twins[info.filename] > 1 else _fault(info)
            yield Member(info.filename, info.file_size, fault)


def _fault(info: zipfile.ZipInfo) -> str:
    name = info.filename
    path = PurePosixPath(name)
    windows_drive = len(name) > 1 and name[1] == ":"
    if path.is_absolute() or ".." in path.parts or "\\" in info.orig_filename or "\0" in info.orig_filename:
        return MEMBER_UNSAFE
    if windows_drive or not name:
        return MEMBER_UNSAFE
    if info.flag_bits & _ENCRYPTED:
        return MEMBER_ENCRYPTED
    if stat.S_ISLNK(info.external_attr >> 16):
        return MEMBER_LINK
    if info.file_size > MAX_PICTURE_BYTES:
        return MEMBER_TOO_LARGE
    if info.file_size > RATIO_FREE_BYTES and info.file_size > MAX_RATIO * max(info.compress_size, 1):
        return MEMBER_BOMB
    return ""


class PictureFiles:
    """Reads pictures of one source in place; archives stay open until `close`. Safe to share between threads."""

    def __init__(self, folder: Path) -> None:
        """Args: folder: the source's landing folder."""
        self._folder = folder
        self._archives: dict[str, zipfile.ZipFile] = {}
        self._opening = Lock()

    def __enter__(self) -> PictureFiles:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close every archive."""
        for archive in self._archives.values():
            archive.close()
        self._archives.clear()

    def open_archive(self, file: str) -> zipfile.ZipFile:
        """An archive of the folder, opened once.

        Raises:
            ArchiveError: it cannot be opened or trusted.
        """
        with self._opening:
            if file not in self._archives:
                self._archives[file] = open_zip(inside(self._folder, file))
            return self._archives[file]

    def read(self, ref: ImageRef) -> bytes:
        """The bytes of one picture.

        Args:
            ref: a loose file (no member), or a full member name.

        Raises:
            ImageError: `image_missing`, `image_too_large` or `image_unreadable`.
            ArchiveError: the archive as a whole cannot be trusted, or the path leaves the folder.
        """
        return self._read_member(ref) if ref.member else self._read_loose(ref)

    def _read_loose(self, ref: ImageRef) -> bytes:
        path = inside(self._folder, ref.file)
        if not path.is_file():
            raise ImageError("image_missing", f"{ref.file!r}: no such file in {self._folder.name}/")
        with path.open("rb") as handle:
            data = handle.read(MAX_PICTURE_BYTES + 1)
        if len(data) > MAX_PICTURE_BYTES:
            raise ImageError("image_too_large", f"{ref.file!r}: more than {MAX_PICTURE_BYTES} bytes")
        return data

    def _read_member(self, ref: ImageRef) -> bytes:
        archive = self.open_archive(ref.file)
        try:
            info = archive.getinfo(ref.member)
        except KeyError:
            raise ImageError("image_missing", f"{ref.file}: no member {ref.member!r}") from None
        fault = _fault(info)
        if fault:
            raise ImageError("image_refused", f"{ref.file}: {ref.member!r} is listed as {fault}")
        try:
            with archive.open(info) as handle:
                return handle.read(info.file_size + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
            raise ImageError("image_unreadable", f"{ref.file}: {ref.member!r} does not unpack ({error})") from error
