"""From the picture a draft names to its image id: looked up in the raw index, read in place, decoded and described.

A picture is read once however many rows name it. What was found is kept in chunks in the step's work folder, so that
a killed step goes on where it was. Counting rows belongs to `samples.py`, decoding to `images.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

import pyarrow.parquet as pq

from medmax_pipeline.errors import ImageError, StoreError
from medmax_pipeline.files import read_json, write_json
from medmax_pipeline.ingest.archives import PictureFiles
from medmax_pipeline.ingest.images import Probe, probe
from medmax_pipeline.ingest.raw import MEMBERS, QUARANTINE
from medmax_pipeline.records import ImageRef

THREADS: Final = min(8, os.cpu_count() or 1)
"""Decoding and hashing release the interpreter; no part of the result."""
IMAGE_MISSING: Final = "image_missing"
IMAGE_AMBIGUOUS: Final = "image_ambiguous"
IMAGE_REFUSED: Final = "image_refused"


class Fault(NamedTuple):
    """Why a picture cannot be used."""

    reason: str
    detail: str


class PictureIndex:
    """Names of the files and members that raw found readable."""

    def __init__(self, raw: Path) -> None:
        """Args: raw: published folder of the source's raw artifact."""
        self._known: set[ImageRef] = set()
        self._by_name: dict[ImageRef, ImageRef | None] = {}
        for row in _pairs(raw / MEMBERS, "file", "member"):
            self._known.add(row)
            if row.member:
                bare = ImageRef(row.file, PurePosixPath(row.member).name)
                self._by_name[bare] = None if bare in self._by_name else row
        self._refused = {
            ImageRef(row.file, PurePosixPath(row.member.replace("\\", "/")).name)
            for row in _pairs(raw / QUARANTINE, "file", "unit")
        }

    def resolve(self, ref: ImageRef) -> ImageRef | Fault:
        """The readable file or member that a draft names.

        A member's name without a folder stands for the one member of that base name, wherever in the archive it lies.
        """
        if ref in self._known:
            return ref
        if ref in self._by_name:
            found = self._by_name[ref]
            return found or Fault(IMAGE_AMBIGUOUS, f"{ref.file}: several members are called {ref.member!r}")
        if ref in self._refused:
            return Fault(IMAGE_REFUSED, f"{ref.file}: raw listed {ref.member!r} as not to be read")
        where = f"member {ref.member!r} in {ref.file}" if ref.member else f"file {ref.file!r}"
        return Fault(IMAGE_MISSING, f"no {where}")

    def count(self, files: Iterable[str]) -> int:
        """How many pictures lie in these files: members of archives, and the loose files themselves."""
        wanted = set(files)
        return sum(ref.file in wanted for ref in self._known)


def _pairs(path: Path, file: str, member: str) -> Iterable[ImageRef]:
    with pq.ParquetFile(path) as table:
        for batch in table.iter_batches(columns=[file, member]):
            for row in batch.to_pylist():
                yield ImageRef(row[file], row[member])


class Prober:
    """Describes pictures, remembering what it has seen."""

    def __init__(self, files: PictureFiles, digests: Mapping[str, str], work: Path) -> None:
        """Open the memory of an earlier, killed run of the same step.

        Args:
            files: the source's opened pictures.
            digests: sha256 of each file of the landing folder, as raw found them.
            work: folder for the memory's chunks.
        """
        self._files = files
        self._digests = digests
        self._work = work
        self._seen: dict[ImageRef, Probe | Fault] = {}
        self._chunks = 0
        for path in sorted(work.glob("probes-*.json")):
            for file, member, good, values in read_json(path):
                self._seen[ImageRef(file, member)] = Probe(*values) if good else Fault(*values)
            self._chunks += 1

    @property
    def used(self) -> int:
        """Pictures read so far, good or bad."""
        return len(self._seen)

    def describe(self, refs: Iterable[ImageRef]) -> Mapping[ImageRef, Probe | Fault]:
        """What each of these readable pictures holds, or why it cannot be used.

        Raises:
            StoreError: a loose file is not the one that raw found.
        """
        wanted = list(dict.fromkeys(refs))
        new = [ref for ref in wanted if ref not in self._seen]
        if new:
            with ThreadPoolExecutor(THREADS) as pool:
                found = dict(zip(new, pool.map(self._one, new), strict=True))
            self._seen |= found
            chunk = [[ref.file, ref.member, isinstance(result, Probe), list(result)] for ref, result in found.items()]
            write_json(self._work / f"probes-{self._chunks:06d}.json", chunk)
            self._chunks += 1
        return {ref: self._seen[ref] for ref in wanted}

    def _one(self, ref: ImageRef) -> Probe | Fault:
        try:
            found = probe(self._files.read(ref))
        except ImageError as error:
            return Fault(error.reason, error.detail)
        if not ref.member and found.image_id != self._digests.get(ref.file):
            raise StoreError(f"{ref.file}: changed while it was being read. Let it settle and run the build again.")
        return found
