"""Verified bytes as the publisher ships them: which files there are, with digests, and where everything in them lies.

Nothing is copied or unpacked. Members that must not be read are listed apart with their reason; looking places up
belongs to `index.py`, what rows and pictures hold to `samples.py`.

    files.parquet        one line a file of the landing folder
    members.parquet      one line a place: a loose file, a member of an archive, a picture inside a table
    quarantine.parquet   members that are never read
    seek/                seek points of gzipped tars
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from medmax_pipeline.arrow import PLACE_FIELDS, left_to_table
from medmax_pipeline.files import DigestCache
from medmax_pipeline.ingest.archives import MEMBER_DUPLICATE, Member, kind_of, list_members
from medmax_pipeline.ingest.gz import seek_file, write_seek_points
from medmax_pipeline.ingest.landing import LandingFile, pattern, scan
from medmax_pipeline.ingest.parts import complete_pieces, whole_of
from medmax_pipeline.ingest.places import SEEK, Place, open_container
from medmax_pipeline.ingest.tables import TableWriter, of_schema, open_table
from medmax_pipeline.manifest import External, digest_lines
from medmax_pipeline.records import Counts, Left
from medmax_pipeline.sources.record import Source
from medmax_pipeline.steps import Outcome

FILES: Final = "files.parquet"
MEMBERS: Final = "members.parquet"
QUARANTINE: Final = "quarantine.parquet"
FILE_SCHEMA: Final = pa.schema(
    [
        ("path", pa.string()),
        ("bytes", pa.int64()),
        ("sha256", pa.string()),
        ("pictures", pa.bool_()),
        ("group", pa.string()),
        ("rank", pa.int32()),
    ]
)
"""One line an expected file, sorted by path; `pictures`, `group` and `rank` as in `LandingFile`."""
MEMBER_SCHEMA: Final = pa.schema(PLACE_FIELDS)
"""One line a `Place`, sorted by file, members in their archive's order. A table's line comes before its pictures'."""
MANY_FILES: Final = 1000
"""Ours: a glob that stands for more files is one entry of the manifest."""
_BATCH: Final = 8192
_HELD_SCHEMA: Final = MEMBER_SCHEMA.append(pa.field("fault", pa.string()))


def list_external(source: Source, landing: Path, digests: DigestCache) -> tuple[External, ...]:
    """Every expected file with its digest; unchanged files are not read again.

    A glob that stands for more than `MANY_FILES` files is one entry: its path is the glob, its bytes the sum, its
    sha256 that of `digest_lines`.

    Args:
        source: the source's record.
        landing: root of the landing folders.
        digests: the store's cache.
    """
    folder = landing / source.folder
    found = scan(folder, source.files).expected
    hashes = dict(
        zip((file.name for file in found), digests.sha256_all([folder / file.name for file in found]), strict=True)
    )
    digests.save()
    entries, covered = [], set[str]()
    for item in source.files:
        names = pattern(item.path)
        group = [file for file in found if names.fullmatch(file.name)]
        if len(group) > MANY_FILES:
            lines = digest_lines((file.name, hashes[file.name]) for file in group)
            total = sum(file.bytes for file in group)
            entries.append(External(f"{source.folder}/{item.path}", lines, total, source.licence.name))
            covered |= {file.name for file in group}
    for file in found:
        if file.name not in covered:
            entry = External(f"{source.folder}/{file.name}", hashes[file.name], file.bytes, source.licence.name)
            entries.append(entry)
    return tuple(sorted(entries, key=lambda entry: entry.path))


def index_source(source: Source, landing: Path, out: Path, digests: DigestCache, log: Callable[[str], None]) -> Outcome:
    """Write the index of a landing folder.

    Args:
        source: the source's record.
        landing: root of the landing folders.
        out: folder of the tables.
        digests: the store's cache, which `list_external` filled.
        log: takes a line an archive.

    Returns:
        counts in places: members of archives, pictures in tables, and loose files.

    Raises:
        ArchiveError: an archive cannot be read or trusted as a whole; the message names it.
    """
    folder = landing / source.folder
    found = scan(folder, source.files)
    _write_files(folder, found.expected, digests, out / FILES)
    with (
        open_table(out / MEMBERS, of_schema(MEMBER_SCHEMA)) as kept,
        open_table(out / QUARANTINE, left_to_table) as refused,
    ):
        index = _Indexer(folder, out, kept, refused, log)
        for file in _first_pieces(found.expected):
            index.add(file)
        reasons = index.reasons
        counts = Counts(kept.written + refused.written, kept.written, quarantined=dict(sorted(reasons.items())))
    return Outcome(
        counts=counts,
        licences=(source.licence.name,),
        credentialed=source.credentialed,
        revision=source.access.revision,
        summary={
            "files": len(found.expected),
            "archives": index.archives,
            "bytes": sum(file.bytes for file in found.expected),
            "unexpected_files": found.unexpected,
        },
    )


def _write_files(folder: Path, files: Sequence[LandingFile], digests: DigestCache, out: Path) -> None:
    hashes = digests.sha256_all([folder / file.name for file in files])
    with open_table(out, of_schema(FILE_SCHEMA)) as table:
        for file, sha256 in zip(files, hashes, strict=True):
            row = file._asdict()
            table.add({"path": row.pop("name"), "sha256": sha256} | row)
    digests.save()


def _first_pieces(files: Sequence[LandingFile]) -> Iterator[LandingFile]:
    """Files with the pieces of an archive taken together under the first.

    Raises:
        ArchiveError: a piece is missing.
    """
    seen: set[str] = set()
    for file in files:
        whole = whole_of(file.name)
        if whole in seen:
            continue
        if whole:
            seen.add(whole)
            first, *_ = complete_pieces(whole, [each.name for each in files if whole_of(each.name) == whole])
            yield file._replace(name=first)
        else:
            yield file


class _Indexer:
    """Writes the places of one landing folder."""

    def __init__(
        self,
        folder: Path,
        out: Path,
        kept: TableWriter[dict[str, Any]],
        refused: TableWriter[Left],
        log: Callable[[str], None],
    ) -> None:
        self._folder = folder
        self._out = out
        self._kept = kept
        self._refused = refused
        self._log = log
        self.archives = 0
        self.reasons: Counter[str] = Counter()

    def add(self, file: LandingFile) -> None:
        """Every place of one file."""
        kind = kind_of(self._folder, file.name)
        if kind in ("loose", "parquet"):
            self._kept.add(Place(file.name, "", "loose", 0, file.bytes, file.bytes, 0)._asdict())
        if kind == "loose":
            return
        before = self._kept.written, self._refused.written
        self._add_members(list_members(self._folder, file.name, kind))
        if kind == "gz":
            with open_container(self._folder, file.name) as joined:
                write_seek_points(joined, seek_file(self._out / SEEK, file.name))
        if kind != "parquet":
            self.archives += 1
            kept, refused = self._kept.written - before[0], self._refused.written - before[1]
            self._log(f"{file.name}: {kept} members" + (f", {refused} are not read" if refused else ""))

    def _add_members(self, members: Iterator[Member]) -> None:
        """Members are held as Arrow batches until all names are known: a million need some 150 MB."""
        batches: list[pa.RecordBatch] = []
        hashes: list[np.ndarray[Any, Any]] = []
        while some := list(islice(members, _BATCH)):
            rows = [member.place._asdict() | {"fault": member.fault} for member in some]
            batches.append(pa.RecordBatch.from_pylist(rows, schema=_HELD_SCHEMA))
            hashes.append(np.fromiter((hash(member.place.member) for member in some), np.int64, len(some)))
        twins = _twins(batches, hashes)
        for batch in batches:
            for row in batch.to_pylist():
                fault = row.pop("fault") or (MEMBER_DUPLICATE if row["member"] in twins else "")
                if fault:
                    self.reasons[fault] += 1
                    self._refused.add(Left(row["member"], fault, file=row["file"]))
                else:
                    self._kept.add(row)


def _twins(batches: Sequence[pa.RecordBatch], hashes: Sequence[np.ndarray[Any, Any]]) -> set[str]:
    """Names that more than one member of an archive has."""
    if not hashes:
        return set()
    values, counts = np.unique(np.concatenate(hashes), return_counts=True)
    suspects = values[counts > 1]
    if not len(suspects):
        return set()
    names: Counter[str] = Counter()
    for batch, known in zip(batches, hashes, strict=True):
        member = batch.column("member")
        names.update(member[int(at)].as_py() for at in np.flatnonzero(np.isin(known, suspects)))
    return {name for name, count in names.items() if count > 1}
