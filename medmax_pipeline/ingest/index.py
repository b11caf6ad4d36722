"""From the name of a picture or a file to its place, over what raw has listed.

Sorted hashes of base names find candidates among a million in some microseconds. Listing places belongs to `raw.py`,
holding them to `place_table.py`, reading them to `places.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from medmax_pipeline.errors import ArchiveError
from medmax_pipeline.ingest.landing import pattern
from medmax_pipeline.ingest.place_table import LOOSE, TABLE, PlaceTable, composed
from medmax_pipeline.ingest.places import Place
from medmax_pipeline.ingest.raw import FILES, MEMBERS, QUARANTINE
from medmax_pipeline.records import ImageRef

IMAGE_MISSING: Final = "image_missing"
IMAGE_AMBIGUOUS: Final = "image_ambiguous"
IMAGE_REFUSED: Final = "image_refused"


class Fault(NamedTuple):
    """Why a picture cannot be used."""

    reason: str
    detail: str


class Index:
    """All places of one source's raw artifact, by number. Safe to share between threads."""

    def __init__(self, raw: Path) -> None:
        """Args: raw: published folder of the source's raw artifact."""
        self._held = held = PlaceTable(raw / MEMBERS)
        self._composed_folders = [composed(folder) for folder in held.folders]
        order = np.argsort(held.hashes, kind="stable")
        self._order = order.astype(np.int32)
        self._hashes = held.hashes[order]
        held.hashes = self._hashes[:0]
        files = {row["path"]: row for row in _rows(raw / FILES, "path", "pictures", "group", "rank")}
        self._pictured = np.array([files[file]["pictures"] for file in held.files], bool)
        self._group = [files[file]["group"] for file in held.files]
        self._rank = [files[file]["rank"] for file in held.files]
        self.pictures = self._count_pictures()
        """How many places lie in files that the record calls pictures, used or not."""
        self._refused: dict[str, list[tuple[str, str, str]]] = {}
        for row in _rows(raw / QUARANTINE, "file", "unit", "reason"):
            name = composed(row["unit"].replace("\\", "/"))
            self._refused.setdefault(name.rpartition("/")[2], []).append((row["file"], name, row["reason"]))

    def _count_pictures(self) -> int:
        held = self._held
        if not len(held.file):
            return 0
        of_table = held.kind == TABLE
        tables = np.zeros(len(held.files), bool)
        tables[held.file[of_table]] = True
        return int((self._pictured[held.file] & (of_table | ~tables[held.file])).sum())

    def __len__(self) -> int:
        return len(self._held)

    def place(self, number: int) -> Place:
        """The place of this number, from 0 in raw's order.

        Raises:
            IndexError: there is none.
        """
        return self._held.place(number)

    def _called(self, path: str) -> list[int]:
        """Numbers of the places whose path is `path` or ends in `/` and `path`, a path with accents composed."""
        folder, slash, base = path.rpartition("/")
        key = hash(base)
        first = int(np.searchsorted(self._hashes, key, "left"))
        last = int(np.searchsorted(self._hashes, key, "right"))
        numbers = np.sort(self._order[first:last]).tolist()
        if slash and numbers:
            folders = self._composed_folders
            ids = self._held.folder[numbers].tolist()
            end = f"/{folder}/"
            numbers = [
                number
                for number, own in zip(numbers, ids, strict=True)
                if folders[own] == end[1:] or folders[own].endswith(end)
            ]
        return [number for number in numbers if composed(self._held.base(number)) == base]

    def find(self, ref: ImageRef) -> int | Fault:
        """The one place that a row's name stands for.

        A bare name is a base name; one with a slash is the end of a path, and a path that is it to the letter goes
        before longer ones. Without a file, pictures of the whole source are asked, values of tables excepted; with a
        file, that file alone. Of files that the record calls the same content in another form, and that are as long,
        the form named first answers.

        Returns:
            its number, or `image_missing`, `image_ambiguous` or `image_refused`.
        """
        if ref.file and not ref.member:
            return self._find_loose(ref.file)
        held, name = self._held, composed(ref.member.removeprefix("./"))
        found: list[int] = []
        for number in self._called(name):
            table = held.kind[number] == TABLE
            if ref.file:
                if held.files[held.file[number]] != ref.file or held.kind[number] == LOOSE:
                    continue
                if composed(self._held.path(number)) == name:
                    return number
            elif table or not self._pictured[held.file[number]]:
                continue
            if not table:
                found.append(number)
        return self._one(found, name, ref.file)

    def _find_loose(self, file: str) -> int | Fault:
        for number in self._called(composed(file)):
            if self._held.kind[number] == LOOSE and self._held.path(number) == file:
                return number
        return Fault(IMAGE_MISSING, f"no file {file!r}")

    def _one(self, found: list[int], name: str, file: str) -> int | Fault:
        exact = [number for number in found if "/" in name and composed(self._held.path(number)) == name]
        refused = [
            f"{each}::{unit}, not to be read ({reason})"
            for each, unit, reason in self._refused.get(name.rpartition("/")[2], [])
            if (not file or each == file) and f"/{unit}".endswith(f"/{name}")
        ]
        where = f"member {name!r} in {file}" if file else f"picture {name!r}"
        if len(exact) == 1:
            return exact[0]
        if len(found) == 1 and not refused:
            return found[0]
        if not refused and self._copies(found):
            return min(found, key=lambda number: self._rank[self._held.file[number]])
        if found:
            places = [self.place(number).name for number in found] + refused
            return Fault(IMAGE_AMBIGUOUS, f"{where}: {len(places)} answer to it, as {places[0]!r} and {places[1]!r}")
        if refused:
            return Fault(IMAGE_REFUSED, f"{where}: raw listed {refused[0]}")
        return Fault(IMAGE_MISSING, f"no {where}")

    def _copies(self, found: list[int]) -> bool:
        """Whether these are one picture in several forms of the same content, as an archive and its unpacked copy."""
        files = [int(self._held.file[number]) for number in found]
        groups = {self._group[file] for file in files}
        sizes = {self.place(number).bytes for number in found}
        ranks = {self._rank[file] for file in files}
        return len(groups) == len(sizes) == 1 and "" not in groups and len(ranks) == len(found)

    def names(self, wanted: str) -> list[str]:
        """Sorted names (`file` or `file::member`) whose path is `wanted` or ends in `/` and `wanted`.

        Args:
            wanted: a path, globs as in `landing.pattern`. Values inside tables have no names here.
        """
        if "*" not in wanted:
            numbers = self._called(composed(wanted))
        else:
            numbers = self._held.bases_like(_end_of(wanted.rpartition("/")[2]))
            whole = pattern(f"**/{wanted}")
            numbers = [number for number in numbers if whole.fullmatch(self._held.path(number))]
        return sorted(self.place(number).name for number in numbers if self._held.kind[number] != TABLE)

    def place_of(self, name: str) -> Place:
        """The place that `names` calls so.

        Raises:
            ArchiveError: there is none.
        """
        file, _, member = name.partition("::")
        for path in (name, member) if member else (file,):
            for number in self._called(composed(path)):
                if self._held.kind[number] != TABLE and self.place(number).name == name:
                    return self.place(number)
        raise ArchiveError(f"{name!r}: raw has listed no such file. Is it among the files that its record expects?")


def _end_of(last: str) -> str:
    """Expression for base names that may end a path whose pattern ends so."""
    rest = pattern(last.rpartition("**")[2]).pattern
    return f"(?s){'' if '**' in last else '^'}{rest}$"


def _rows(path: Path, *columns: str) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(path) as table:
        for batch in table.iter_batches(columns=list(columns)):
            yield from batch.to_pylist()
