"""An opened landing folder: the files of one source as the user or the sample corpus placed them.

Finds what the source's record expects, refuses paths that leave the folder and Git LFS pointers, and reads rows and
small texts. Pictures and archives are opened by `archives.py`; nothing here writes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

from medmax_pipeline.errors import ArchiveError
from medmax_pipeline.files import decimal_size, inside
from medmax_pipeline.ingest import json_stream, rows
from medmax_pipeline.ingest.parts import pieces_of, whole_of
from medmax_pipeline.manifest import Lock
from medmax_pipeline.sources.record import ExpectedFile, Publisher, Row

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
    pictures: bool = False
    """Whether one of the expected paths that name it stands for pictures."""


@lru_cache
def pattern(path: str) -> re.Pattern[str]:
    """The expected path as a regular expression.

    `*` stands for any run of characters but the slash, `**` for any run at all, `**/` for folders or none.
    """
    wild = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*"}
    pieces = re.split(r"(\*\*/|\*\*|\*)", path)
    return re.compile("".join(wild.get(piece) or re.escape(piece) for piece in pieces), re.DOTALL)


class Scan(NamedTuple):
    """What lies in a landing folder."""

    expected: tuple[LandingFile, ...]
    """Sorted by name."""
    unexpected: int
    """Files that no expected path names; they are not read."""


def scan(folder: Path, expected: tuple[ExpectedFile, ...]) -> Scan:
    """List a landing folder; names that begin with a dot are passed over, linked folders are not entered.

    The landing folder itself may be a link, to a bigger disk for one.

    Raises:
        ArchiveError: an expected file is a link that leads out of the folder, or its name is not UTF-8.
    """
    patterns = [(pattern(item.path), item.pictures) for item in expected]
    found, unexpected = [], 0
    for name, entry in _entries(folder, ""):
        matched = [pictures for wanted, pictures in patterns if wanted.fullmatch(name)]
        if not matched:
            unexpected += 1
            continue
        if not name.isascii() and any("\ud800" <= letter <= "\udfff" for letter in name):
            raise ArchiveError(f"{name!r}: a name in {folder.name}/ that is not UTF-8. Rename or convert it.")
        if entry.is_symlink():
            inside(folder, name)
        found.append(LandingFile(name, entry.stat().st_size, any(matched)))
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


def find_lock(source: Publisher, landing: Path) -> Lock | None:
    """Why the source cannot be read here, or None.

    Args:
        source: its record.
        landing: root of the landing folders.
    """
    name = source.folder
    folder = landing / name
    cure = f"{source.access.how} From {source.access.page} into $MEDMAX_LANDING/{name}/ (here: {folder})."
    if not folder.is_dir():
        return Lock(f"no landing folder {name}/; expected {_listed(source.files)}.", cure)
    found = scan(folder, source.files).expected
    missing = _missing(source.files, found)
    if missing:
        size = decimal_size(sum(file.bytes for file in found))
        shown = f"{len(found)} of the expected files ({size})" if found else "none of the expected files"
        return Lock(f"{name}/ holds {shown}; missing: {'; '.join(missing)}.", cure)
    pointers = [file.name for file in found if is_pointer(folder / file.name, file.bytes)]
    if pointers:
        return Lock(
            f"{name}/: {len(pointers)} files are Git LFS pointers and not data, the first is {pointers[0]!r}.",
            f"Run `git lfs pull` where the files came from and place them again. {cure}",
        )
    return None


def _listed(files: Sequence[ExpectedFile]) -> str:
    """What is expected, in words."""
    shown = [_described(item) for item in files if not item.group and not item.optional]
    for group in _groups(files):
        shown.append("either " + " or ".join(_described(item) for item in files if item.group == group))
    return ", ".join(
        shown + [f"if you have it {_described(item)}" for item in files if item.optional and not item.group]
    )


def _described(item: ExpectedFile) -> str:
    size = "" if item.bytes is None else f", {decimal_size(item.bytes)}"
    return f"{item.path!r} ({item.note}{size})"


def _groups(files: Sequence[ExpectedFile]) -> list[str]:
    return list(dict.fromkeys(item.group for item in files if item.group))


def _missing(files: Sequence[ExpectedFile], found: Sequence[LandingFile]) -> list[str]:
    """Expected files that are absent, groups of which nothing is there, and pieces lacking between others."""
    names = [file.name for file in found]
    there = {item.path: any(map(pattern(item.path).fullmatch, names)) for item in files}
    missing = [_described(item) for item in files if not (item.optional or item.group or there[item.path])]
    for group in _groups(files):
        members = [item for item in files if item.group == group]
        if not any(there[item.path] for item in members) and not all(item.optional for item in members):
            missing.append("either " + " or ".join(_described(item) for item in members))
    for whole in sorted({whole_of(name) for name in names} - {""}):
        missing += [f"{piece!r} (between the other pieces of {whole})" for piece in pieces_of(whole, names)[1]]
    return missing


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
        with self.path(file).open("rb") as handle:
            yield from json_stream.read_json_array(handle, file)

    def jsonl(self, file: str) -> Iterator[Row]:
        """Rows of a file of JSON lines."""
        with self.path(file).open("rb") as handle:
            yield from rows.read_jsonl(handle, file)

    def csv(self, file: str) -> Iterator[Row]:
        """Rows of a CSV file."""
        with self.path(file).open("rb") as handle:
            yield from rows.read_csv(handle, file)

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
