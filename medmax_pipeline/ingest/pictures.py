"""Pictures opened where they lie: each once, in the order of the archives, by a pool of threads.

The pool decodes and digests, which releases the interpreter. What can only be read in order (a gzipped tar) is read by
the one thread that feeds the pool; what is under way at once is bounded. What was found is kept by `described.py`;
whether bytes are a picture is said by `images.py`; which pictures rows name by `samples.py`.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

from medmax_pipeline.errors import ImageError, StoreError
from medmax_pipeline.files import sha256_bytes
from medmax_pipeline.ingest.described import Described
from medmax_pipeline.ingest.images import Probe, probe
from medmax_pipeline.ingest.index import Fault, Index
from medmax_pipeline.ingest.places import Files, Place
from medmax_pipeline.ingest.progress import Progress

THREADS: Final = min(16, os.cpu_count() or 1)
"""No part of the result."""
MAX_PICTURE_BYTES: Final = 256 << 20
"""Ours: a larger file is no picture of these sources; the largest radiographs have some 5 MB as JPEG."""
TASK_PICTURES: Final = 16
TASK_BYTES: Final = 4 << 20
"""A task of the pool ends with the picture that reaches either; two tasks a thread wait at most."""
CHUNK_PICTURES: Final = 4096
CHUNK_S: Final = 60.0
"""A chunk is kept when either is reached: what a killed step loses at most."""


class _Read(NamedTuple):
    """A picture to be described; `data` is there where it had to be read in order."""

    number: int
    place: Place
    data: bytes | Fault | None


Found = list[tuple[int, Probe | Fault]]


class Prober:
    """Describes pictures of one opened source."""

    def __init__(self, index: Index, files: Files, digests: Mapping[str, str]) -> None:
        """Args:
        index: where the source's pictures lie.
        files: reads them.
        digests: sha256 of each file of the landing folder, as raw found it.
        """
        self._index = index
        self._files = files
        self._digests = digests

    def complete(self, described: Described, work: Path, what: str, log: Callable[[str], None]) -> int:
        """Open every picture of which nothing is known yet; how many that were.

        Args:
            described: takes what is found.
            work: folder of its chunks.
            what: names the source in lines of progress.
            log: takes them.

        Raises:
            StoreError: a loose file is not the one that raw found.
            ArchiveError: an archive as a whole cannot be trusted any more.
        """
        todo = described.missing()
        if not len(todo):
            return 0
        progress = Progress(what, "pictures", log, len(todo))
        held: Found = []
        kept = time.monotonic()
        for found in self._found(todo.tolist()):
            held += found
            progress.add(len(found))
            if len(held) >= CHUNK_PICTURES or time.monotonic() - kept > CHUNK_S:
                described.keep(work, held)
                held, kept = [], time.monotonic()
        if held:
            described.keep(work, held)
        progress.end()
        return len(todo)

    def _found(self, numbers: list[int]) -> Iterator[Found]:
        """What each task found, in order."""
        with ThreadPoolExecutor(THREADS) as pool:
            under_way: deque[Future[Found]] = deque()
            try:
                for task in self._tasks(numbers):
                    under_way.append(pool.submit(self._describe, task))
                    if len(under_way) > 2 * THREADS:
                        yield under_way.popleft().result()
                while under_way:
                    yield under_way.popleft().result()
            finally:
                pool.shutdown(cancel_futures=True)

    def _tasks(self, numbers: list[int]) -> Iterator[list[_Read]]:
        task: list[_Read] = []
        size = 0
        for number in numbers:
            place = self._index.place(number)
            task.append(_Read(number, place, self._read(place) if self._files.sequential(place) else None))
            size += place.bytes
            if len(task) == TASK_PICTURES or size >= TASK_BYTES:
                yield task
                task, size = [], 0
        if task:
            yield task

    def _read(self, place: Place) -> bytes | Fault:
        try:
            return self._files.read(place, MAX_PICTURE_BYTES)
        except ImageError as error:
            return Fault(error.reason, error.detail)

    def _describe(self, task: list[_Read]) -> Found:
        return [(read.number, self._one(read)) for read in task]

    def _one(self, read: _Read) -> Probe | Fault:
        data = self._read(read.place) if read.data is None else read.data
        if isinstance(data, Fault):
            return data
        try:
            found = probe(data)
        except ImageError as error:
            self._check(read.place, sha256_bytes(data))
            return Fault(error.reason, error.detail)
        self._check(read.place, found.image_id)
        return found

    def _check(self, place: Place, digest: str) -> None:
        if place.kind == "loose" and digest != self._digests.get(place.file):
            raise StoreError(f"{place.file}: changed while it was being read. Let it settle and run the build again.")
