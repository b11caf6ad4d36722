"""A Parquet table of places held in memory, a million in some 150 MB: Arrow base names, numpy numbers.

Finding a place by name belongs to `index.py`, by image id to `reader.py`.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from medmax_pipeline.ingest.places import KINDS, Place

NUMBERS: Final = ("offset", "packed", "bytes", "crc")
LOOSE: Final = KINDS.index("loose")
TABLE: Final = KINDS.index("parquet")
_SPLIT: Final = r"(?s)^(?P<folder>.*/)?(?P<base>[^/]*)$"


def composed(name: str) -> str:
    """The name with accents composed: archives made on other systems spell the same letters otherwise."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


class PlaceTable:
    """Places by their row in a table with a column for each field of `Place`. Safe to share between threads."""

    def __init__(self, path: Path) -> None:
        """Args: path: the table."""
        files: dict[str, int] = {}
        folders: dict[str, int] = {}
        self._bases: list[pa.Array] = []
        self._starts: list[int] = []
        with pq.ParquetFile(path) as table:
            rows = table.metadata.num_rows
            self.file, self.folder = np.zeros(rows, np.int32), np.zeros(rows, np.int32)
            self.kind, self.hashes = np.zeros(rows, np.int8), np.zeros(rows, np.int64)
            self._numbers = [np.zeros(rows, np.int64) for _ in NUMBERS]
            at = 0
            for batch in table.iter_batches(batch_size=65536, columns=list(Place._fields)):
                self._starts.append(at)
                here = slice(at, at := at + batch.num_rows)
                loose = pc.equal(batch.column("kind"), "loose")
                split = pc.extract_regex(pc.if_else(loose, batch.column("file"), batch.column("member")), _SPLIT)
                base = pc.struct_field(split, "base")
                self._bases.append(base)
                self.file[here] = _numbered(batch.column("file"), files)
                self.folder[here] = _numbered(pc.struct_field(split, "folder"), folders)
                self.kind[here] = [KINDS.index(kind) for kind in batch.column("kind").to_pylist()]
                self.hashes[here] = [hash(composed(name)) for name in base.to_pylist()]
                for held, name in zip(self._numbers, NUMBERS, strict=True):
                    held[here] = batch.column(name)
        pa.default_memory_pool().release_unused()
        self.files = list(files)
        self.folders = list(folders)
        """Folders of the paths, with their last slash; empty for none. `file` and `folder` number them."""

    def __len__(self) -> int:
        return len(self.file)

    def place(self, number: int) -> Place:
        """The place of this row, from 0.

        Raises:
            IndexError: there is none.
        """
        kind = KINDS[self.kind[number]]
        member = "" if kind == "loose" else self.path(number)
        offset, packed, size, crc = (int(column[number]) for column in self._numbers)
        return Place(self.files[self.file[number]], member, kind, offset, packed, size, crc)

    def base(self, number: int) -> str:
        """The path's last part."""
        chunk = bisect_right(self._starts, number) - 1
        return str(self._bases[chunk][number - self._starts[chunk]].as_py())

    def path(self, number: int) -> str:
        """The member's name, or the file's where it is loose."""
        return f"{self.folders[self.folder[number]]}{self.base(number)}"

    def in_order(self) -> list[int]:
        """Rows by file and offset, as reading is cheapest."""
        ranks = np.argsort(np.argsort(np.array(self.files)))[self.file] if len(self) else self.file
        return [int(row) for row in np.lexsort((self._numbers[0], ranks))]

    def bases_like(self, expression: str) -> list[int]:
        """Rows whose base name holds a match of a regular expression (RE2)."""
        chunks = zip(self._starts, self._bases, strict=True)
        return [
            start + int(at)
            for start, chunk in chunks
            for at in np.flatnonzero(pc.match_substring_regex(chunk, expression))
        ]


def _numbered(column: pa.Array, known: dict[str, int]) -> list[int]:
    """Each value as the number under which it was first met."""
    return [known.setdefault(value, len(known)) for value in column.to_pylist()]
