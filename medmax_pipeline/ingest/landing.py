"""An opened landing folder: the files of one source as the user or the sample corpus placed them.

Finds what the source's record expects, refuses paths that leave the folder and Git LFS pointers, and reads rows and
small texts. Pictures and archives are opened by `archives.py`; nothing here writes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from medmax_pipeline.errors import ArchiveError
from medmax_pipeline.files import inside
from medmax_pipeline.ingest import rows
from medmax_pipeline.manifest import Lock
from medmax_pipeline.sources.record import ExpectedFile, Row, Source

POINTER: Final = b"version https://git-lfs"
POINTER_BYTES: Final = 1024
"""Git LFS writes pointers below this size."""
MAX_TEXT_BYTES: Final = 1 << 20
"""Ours: a report above this size is refused; real ones have some thousand characters."""


class LandingFile(NamedTuple):
    """A file that the source expects."""

    name: str
    """Relative to the source's landing folder, with `/`."""
    bytes: int


def pattern(path: str) -> re.Pattern[str]:
    """The expected path as a regular expression; `*` stands for any run of characters but the slash."""
    return re.compile("[^/]*".join(re.escape(piece) for piece in path.split("*")))


class Scan(NamedTuple):
    """What lies in a landing folder."""

    expected: tuple[LandingFile, ...]
    """Sorted by name."""
    unexpected: int
    """Files that no expected path names; they are not read."""


def scan(folder: Path, expected: tuple[ExpectedFile, ...]) -> Scan:
    """List a landing folder; names that begin with a dot are passed over, linked folders are not entered.

    Raises:
        ArchiveError: an expected file is a link that leads out of the folder.
    """
    patterns = [pattern(item.path) for item in expected]
    found, unexpected = [], 0
    for name, entry in _entries(folder, ""):
        if not any(item.fullmatch(name) for item in patterns):
            unexpected += 1
            continue
        if entry.is_symlink():
            inside(folder, name)
        found.append(LandingFile(name, entry.stat().st_size))
    return Scan(tuple(sorted(found)), unexpected)


def _entries(folder: Path, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _entries(folder / entry.name, f"{prefix}{entry.name}/")
            elif entry.is_file():
                yield prefix + entry.name, entry


def is_pointer(path: Path, size: int) -> bool:
    """Whether a file is a Git LFS pointer instead of the data it names."""
    if size > POINTER_BYTES:
        return False
    with path.open("rb") as handle:
        return handle.read(len(POINTER)) == POINTER


def find_lock(source: Source, landing: Path) -> Lock | None:
    """Why the source cannot be read here, or None.

    Args:
        source: its record.
        landing: root of the landing folders.
    """
    folder = landing / source.key
    cure = f"{source.access.how} From {source.access.page} into $MEDMAX_LANDING/{source.key}/ (here: {folder})."
    wanted = ", ".join(repr(item.path) for item in source.files)
    if not folder.is_dir():
        return Lock(f"no landing folder {source.key}/; expected {wanted}.", cure)
    found = scan(folder, source.files).expected
    names = [file.name for file in found]
    missing = [item for item in source.files if not any(map(pattern(item.path).fullmatch, names))]
    if missing:
        absent = ", ".join(f"{item.path!r} ({item.note})" for item in missing)
        shown = f"{len(found)} of the expected files" if found else "none of the expected files"
        return Lock(f"{source.key}/ holds {shown}; missing: {absent}.", cure)
    pointers = [file.name for file in found if is_pointer(folder / file.name, file.bytes)]
    if pointers:
        return Lock(
            f"{source.key}/: {len(pointers)} files are Git LFS pointers and not data, the first is {pointers[0]!r}.",
            f"Run `git lfs pull` where the files came from and place them again. {cure}",
        )
    return None


class Landing:
    """The landing folder of one source, opened for reading rows; a `RowFiles`."""

    def __init__(self, folder: Path, expected: tuple[ExpectedFile, ...]) -> None:
        """Scan `folder` for the expected files."""
        self.folder = folder
        self.scan = scan(folder, expected)
        self._names = frozenset(file.name for file in self.scan.expected)

    def path(self, file: str) -> Path:
        """Where an expected file lies.

        Raises:
            ArchiveError: no expected file has this name.
        """
        if file not in self._names:
            raise ArchiveError(f"{file!r}: not in {self.folder.name}/, or not among the files its record expects.")
        return inside(self.folder, file)

    def files(self, pattern_path: str) -> list[str]:
        """Sorted names of the files that match an expected path."""
        wanted = pattern(pattern_path)
        return [file.name for file in self.scan.expected if wanted.fullmatch(file.name)]

    def json_array(self, file: str) -> Iterator[Row]:
        """Rows of a JSON array."""
        return rows.read_json_array(self.path(file), file)

    def jsonl(self, file: str) -> Iterator[Row]:
        """Rows of a file of JSON lines."""
        return rows.read_jsonl(self.path(file), file)

    def csv(self, file: str) -> Iterator[Row]:
        """Rows of a CSV file."""
        return rows.read_csv(self.path(file), file)

    def text(self, file: str) -> str | None:
        """A text file, bytes that are no UTF-8 replaced by U+FFFD; None where there is none.

        Raises:
            ArchiveError: it is larger than `MAX_TEXT_BYTES`.
        """
        if file not in self._names:
            return None
        with self.path(file).open("rb") as handle:
            data = handle.read(MAX_TEXT_BYTES + 1)
        if len(data) > MAX_TEXT_BYTES:
            raise ArchiveError(f"{file!r}: larger than {MAX_TEXT_BYTES} bytes, expected a report. Refused.")
        return data.decode("utf-8", errors="replace")
