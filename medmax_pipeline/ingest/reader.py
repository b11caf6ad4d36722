"""Pictures by image id, for whoever must see pixels again: encoding and evaluation, on the machine with the landing.

Bytes are checked against the id that names them; nothing is cached or converted here. Imports nothing that a bare GPU
machine lacks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from medmax_pipeline.errors import ImageError
from medmax_pipeline.files import sha256_bytes
from medmax_pipeline.ingest.place_table import PlaceTable
from medmax_pipeline.ingest.places import SEEK, Files

_ID_BYTES = 32


class _Pictures(NamedTuple):
    """One `images.parquet`: a million need some 200 MB."""

    ids: np.ndarray[Any, Any]
    """Image ids as bytes, sorted."""
    rows: np.ndarray[Any, Any]
    """The row of each."""
    places: PlaceTable
    folders: np.ndarray[Any, Any]
    """Number of each row's landing folder in `files`."""
    files: list[Files]

    def find(self, image_id: str) -> int | None:
        """The row of a picture, or None."""
        wanted = np.frombuffer(_key(image_id), self.ids.dtype)[0]
        at = int(np.searchsorted(self.ids, wanted))
        return int(self.rows[at]) if at < len(self.ids) and self.ids[at] == wanted else None


def _key(image_id: str) -> bytes:
    """An image id as bytes; what is none becomes one that no picture has."""
    try:
        data = bytes.fromhex(image_id)
    except ValueError:
        data = b""
    return data if len(data) == _ID_BYTES else bytes(_ID_BYTES)


def _read(landing: Path, path: Path) -> _Pictures:
    """The pictures of one `images.parquet`."""
    known: dict[str, int] = {}
    with pq.ParquetFile(path) as table:
        ids = np.zeros(table.metadata.num_rows, f"V{_ID_BYTES}")
        folders = np.zeros(len(ids), np.int16)
        at = 0
        for batch in table.iter_batches(columns=["image_id", "folder"]):
            here = slice(at, at := at + batch.num_rows)
            ids[here] = np.frombuffer(bytes.fromhex("".join(batch.column("image_id").to_pylist())), ids.dtype)
            folders[here] = [known.setdefault(name, len(known)) for name in batch.column("folder").to_pylist()]
    rows = np.argsort(ids, kind="stable").astype(np.int32)
    files = [Files(landing / name, path.parent / SEEK) for name in known]
    return _Pictures(ids[rows], rows, PlaceTable(path), folders, files)


class ImageReader:
    """Finds and reads pictures of any source. Safe to share between threads; open one in each process.

    Pictures in a gzipped tar and in a table are cheap in their archive's order only, which is the order of iteration.
    """

    def __init__(self, landing: Path, images: Sequence[Path]) -> None:
        """Read where each picture lies.

        Args:
            landing: root of the landing folders.
            images: `images.parquet` of the sources' samples; seek points of gzipped tars lie in `seek/` beside it.
        """
        self._tables = [_read(landing, path) for path in images]

    def __enter__(self) -> ImageReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _find(self, image_id: str) -> tuple[_Pictures, int] | None:
        for table in self._tables:
            row = table.find(image_id)
            if row is not None:
                return table, row
        return None

    def __contains__(self, image_id: str) -> bool:
        return self._find(image_id) is not None

    def __iter__(self) -> Iterator[str]:
        for number, table in enumerate(self._tables):
            by_row = np.empty_like(table.rows)
            by_row[table.rows] = np.arange(len(by_row), dtype=by_row.dtype)
            for row in table.places.in_order():
                image_id = table.ids[by_row[row]].tobytes().hex()
                if not any(other.find(image_id) is not None for other in self._tables[:number]):
                    yield image_id

    def close(self) -> None:
        """Close every archive."""
        for table in self._tables:
            for files in table.files:
                files.close()

    def _need(self, image_id: str) -> tuple[_Pictures, int]:
        found = self._find(image_id)
        if found is None:
            raise ImageError("image_missing", f"{image_id}: in none of the images.parquet given")
        return found

    def sequential(self, image_id: str) -> bool:
        """Whether reading is cheap in the order of iteration only, from one thread; a picture of none is not."""
        found = self._find(image_id)
        return found is not None and Files.sequential(found[0].places.place(found[1]))

    def read(self, image_id: str) -> bytes:
        """The file's bytes, whose sha256 is `image_id`.

        Raises:
            ImageError: `image_missing`, `image_changed`, or what reading it in place gave.
        """
        table, row = self._need(image_id)
        place = table.places.place(row)
        data = table.files[int(table.folders[row])].read(place, max(place.bytes, 1))
        if sha256_bytes(data) != image_id:
            raise ImageError("image_changed", f"{place.name}: not the picture of {image_id} any more")
        return data
