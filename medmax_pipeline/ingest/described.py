"""What is known of a source's pictures, in a form of which millions fit into memory: some 130 bytes a picture.

Kept in chunks in the step's work folder, so that a killed step goes on where it was; a torn chunk is thrown away and
its pictures are opened again. Opening belongs to `pictures.py`, what is found to `images.py`.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from medmax_pipeline.errors import StoreError
from medmax_pipeline.files import write_bytes
from medmax_pipeline.ingest.images import Probe
from medmax_pipeline.ingest.index import Fault

LINE: Final = np.dtype(
    [
        ("image_id", "V32"),
        ("pixel_digest", "V32"),
        ("phash", "<u8"),
        ("bytes", "<i8"),
        ("width", "<i4"),
        ("height", "<i4"),
        ("format", "S8"),
        ("mode", "S8"),
        ("many", "?"),
        ("good", "?"),
    ]
)
"""One picture; all but `good` is empty where it cannot be used."""
CHUNKS: Final = "probes-*.npz"
_BAD: Final = (b"", b"", 0, 0, 0, 0, b"", b"", False, False)
_TORN: Final = (OSError, ValueError, LookupError, zipfile.BadZipFile, EOFError)


class Described:
    """A `Probe` or a `Fault` for each of some places."""

    def __init__(self, numbers: npt.NDArray[np.int64]) -> None:
        """Args: numbers: the places, ascending, by their number in the index."""
        self.numbers = numbers
        self._lines = np.zeros(len(numbers), LINE)
        self._known = np.zeros(len(numbers), np.bool_)
        self._faults: dict[int, Fault] = {}
        self._same: npt.NDArray[np.int64] | None = None
        self._given = np.zeros(0, np.bool_)

    def missing(self) -> npt.NDArray[np.int64]:
        """The places of which nothing is known yet, ascending."""
        return self.numbers[~self._known]

    def put(self, found: Sequence[tuple[int, Probe | Fault]]) -> None:
        """Take in what was found at some places."""
        self._put(np.array([number for number, _ in found], np.int64), _lines(found), _faults(found))

    def _put(
        self, numbers: npt.NDArray[np.int64], lines: npt.NDArray[Any], faults: Iterable[tuple[int, Fault]]
    ) -> None:
        at = np.searchsorted(self.numbers, numbers)
        if not np.array_equal(self.numbers[np.minimum(at, len(self.numbers) - 1)], numbers):
            raise ValueError("pictures that nobody asked for")
        self._lines[at] = lines
        self._known[at] = True
        self._faults.update(faults)

    def _at(self, number: int) -> int:
        at = int(np.searchsorted(self.numbers, number))
        if at == len(self.numbers) or self.numbers[at] != number or not self._known[at]:
            raise StoreError(f"picture {number} of the index is named now and was not before: the rows changed.")
        return at

    def __getitem__(self, number: int) -> Probe | Fault:
        """What lies at a place.

        Raises:
            StoreError: nobody asked for this place before.
        """
        at = self._at(number)
        line = self._lines[at]
        if not line["good"]:
            return self._faults[number]
        return Probe(
            image_id=line["image_id"].tobytes().hex(),
            bytes=int(line["bytes"]),
            format=line["format"].decode(),
            mode=line["mode"].decode(),
            width=int(line["width"]),
            height=int(line["height"]),
            many=bool(line["many"]),
            pixel_digest=line["pixel_digest"].tobytes().hex(),
            phash=f"{int(line['phash']):016x}",
        )

    def give(self, number: int) -> bool:
        """Whether the bytes at this place are given for the first time, wherever they lie."""
        if self._same is None:
            ids, same = np.unique(self._lines["image_id"], return_inverse=True)
            self._same = same.astype(np.int64)
            self._given = np.zeros(len(ids), np.bool_)
        group = self._same[self._at(number)]
        first = not self._given[group]
        self._given[group] = True
        return bool(first)

    def keep(self, work: Path, found: Sequence[tuple[int, Probe | Fault]]) -> None:
        """Take in what was found, and write it as one more chunk in `work`."""
        self.put(found)
        faults = json.dumps([[number, *fault] for number, fault in _faults(found)]).encode()
        buffer = io.BytesIO()
        numbers = np.array([number for number, _ in found], np.int64)
        np.savez(buffer, numbers=numbers, lines=_lines(found), faults=np.frombuffer(faults, np.uint8))
        write_bytes(work / f"probes-{found[0][0]:09d}.npz", buffer.getvalue())

    def recall(self, work: Path) -> int:
        """Take in the chunks in `work`, remove those that are torn; how many pictures came."""
        for path in sorted(work.glob(CHUNKS)):
            try:
                with path.open("rb") as handle, np.load(handle, allow_pickle=False) as chunk:
                    faults = json.loads(chunk["faults"].tobytes())
                    named = [(int(number), Fault(reason, detail)) for number, reason, detail in faults]
                    self._put(chunk["numbers"], chunk["lines"], named)
            except _TORN:
                path.unlink()
        return int(self._known.sum())


def _lines(found: Sequence[tuple[int, Probe | Fault]]) -> npt.NDArray[Any]:
    return np.array([_line(result) if isinstance(result, Probe) else _BAD for _, result in found], LINE)


def _line(probe: Probe) -> tuple[object, ...]:
    return (
        bytes.fromhex(probe.image_id),
        bytes.fromhex(probe.pixel_digest),
        int(probe.phash, 16),
        probe.bytes,
        probe.width,
        probe.height,
        probe.format.encode(),
        probe.mode.encode(),
        probe.many,
        True,
    )


def _faults(found: Sequence[tuple[int, Probe | Fault]]) -> list[tuple[int, Fault]]:
    return [(number, result) for number, result in found if isinstance(result, Fault)]
