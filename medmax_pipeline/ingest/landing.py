"""A landing folder: the files of one source as the user, a fetch or the sample corpus placed them.

Finds what the source's record expects, says what is lacking, and refuses paths that leave the folder and Git LFS
pointers. Archives are opened by `archives.py`; nothing here reads a file's content or writes.
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
from medmax_pipeline.ingest.parts import pieces_of, whole_of
from medmax_pipeline.manifest import Lock
from medmax_pipeline.sources.record import ExpectedFile, Publisher

POINTER: Final = b"version https://git-lfs"
POINTER_BYTES: Final = 1024
"""Git LFS writes pointers below this size."""


class LandingFile(NamedTuple):
    """A file that the source expects."""

    name: str
    """Relative to the source's landing folder, with `/`."""
    bytes: int
    pictures: bool = False
    """Whether one of the expected paths that name it stands for pictures."""
    group: str = ""
    """Group of the first expected path that names it."""
    rank: int = 0
    """That path's number in the record."""


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
    patterns = [(rank, pattern(item.path)) for rank, item in enumerate(expected)]
    found, unexpected = [], 0
    for name, entry in _entries(folder, ""):
        matched = [rank for rank, wanted in patterns if wanted.fullmatch(name)]
        if not matched:
            unexpected += 1
            continue
        if not name.isascii() and any("\ud800" <= letter <= "\udfff" for letter in name):
            raise ArchiveError(f"{name!r}: a name in {folder.name}/ that is not UTF-8. Rename or convert it.")
        if entry.is_symlink():
            inside(folder, name)
        pictures = any(expected[rank].pictures for rank in matched)
        found.append(LandingFile(name, entry.stat().st_size, pictures, expected[matched[0]].group, matched[0]))
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
