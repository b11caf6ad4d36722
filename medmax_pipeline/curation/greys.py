"""Small grey copies of pictures, made once and kept in a step's working folder.

Only pictures that are candidates are opened. What is compared on the copies belongs to `confirm.py`.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from medmax_pipeline.files import write_bytes
from medmax_pipeline.ingest.images import grey_copy

Grey = npt.NDArray[np.uint8]
THREADS: Final = min(8, os.cpu_count() or 1)
"""No part of the result."""
CHUNK_PICTURES: Final = 2048
"""Pictures that a killed step may have to open again; a chunk of 96 x 96 has 19 MB."""
_ID_BYTES: Final = 32


class Greys:
    """Grey copies, `side` x `side`, by image id."""

    def __init__(self, read: Callable[[str], bytes], folder: Path, side: int) -> None:
        """Args:
        read: bytes of a picture by its id.
        folder: where the copies are kept; those of an earlier run are found again.
        side: pixels of a side.
        """
        self._read = read
        self._folder = folder
        self.side = side
        self._known: dict[bytes, tuple[int, int]] = {}
        self._chunks: list[tuple[Path, int]] = []
        for path in sorted(folder.glob(f"greys-{side}-*")):
            self._join(path)

    def _join(self, path: Path) -> None:
        count = path.stat().st_size // (_ID_BYTES + self.side**2)
        with path.open("rb") as handle:
            ids = handle.read(count * _ID_BYTES)
        for row in range(count):
            self._known[ids[row * _ID_BYTES :][:_ID_BYTES]] = (len(self._chunks), row)
        self._chunks.append((path, count))

    def fill(self, image_ids: Iterable[str]) -> int:
        """Make the copies that are not there yet, in the given order; how many that were.

        Raises:
            ImageError: a picture is not what it was when its samples were made.
        """
        made = 0
        held: list[tuple[bytes, Grey]] = []
        missing = (image_id for image_id in image_ids if bytes.fromhex(image_id) not in self._known)
        for image_id, grey in self._made(missing):
            held.append((bytes.fromhex(image_id), grey))
            made += 1
            if len(held) == CHUNK_PICTURES:
                self._keep(held)
                held = []
        if held:
            self._keep(held)
        return made

    def _made(self, image_ids: Iterable[str]) -> Iterator[tuple[str, Grey]]:
        with ThreadPoolExecutor(THREADS) as pool:
            waiting: deque[tuple[str, Future[Grey]]] = deque()
            for image_id in image_ids:
                waiting.append((image_id, pool.submit(grey_copy, self._read(image_id), self.side)))
                if len(waiting) > 4 * THREADS:
                    name, future = waiting.popleft()
                    yield name, future.result()
            for name, future in waiting:
                yield name, future.result()

    def _keep(self, held: list[tuple[bytes, Grey]]) -> None:
        path = self._folder / f"greys-{self.side}-{len(self._chunks):05d}"
        write_bytes(path, b"".join(name for name, _ in held) + np.stack([grey for _, grey in held]).tobytes())
        self._join(path)

    def take(self, image_ids: Sequence[str]) -> Grey:
        """(P, side, side) copies that `fill` has made; the same id may be asked for many times."""
        places = [self._known[bytes.fromhex(image_id)] for image_id in image_ids]
        found = np.empty((len(places), self.side, self.side), np.uint8)
        by_chunk: dict[int, list[int]] = {}
        for at, (chunk, _) in enumerate(places):
            by_chunk.setdefault(chunk, []).append(at)
        for chunk, wanted in by_chunk.items():  # mapped for this call only, so that memory does not grow with the file
            path, count = self._chunks[chunk]
            mapped = np.memmap(path, np.uint8, "r", count * _ID_BYTES, (count, self.side, self.side))
            found[wanted] = mapped[[places[at][1] for at in wanted]]
        return found
