"""Pictures by image id, for whoever must see pixels again: encoding and evaluation, on the machine with the landing.

Bytes are checked against the id that names them; nothing is cached or converted here. Imports nothing that a bare GPU
machine lacks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

import pyarrow.parquet as pq

from medmax_pipeline.errors import ImageError
from medmax_pipeline.files import sha256_bytes
from medmax_pipeline.ingest.places import SEEK, Files, Place

COLUMNS: Final = ("image_id", "folder", *Place._fields)
"""What is read of `images.parquet`."""


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
        self._places: dict[str, tuple[int, Place]] = {}
        self._files: list[Files] = []
        for path in images:
            opened: dict[str, int] = {}
            with pq.ParquetFile(path) as table:
                for batch in table.iter_batches(columns=list(COLUMNS)):
                    for row in batch.to_pylist():
                        image_id, folder = row.pop("image_id"), row.pop("folder")
                        if folder not in opened:
                            opened[folder] = len(self._files)
                            self._files.append(Files(landing / folder, path.parent / SEEK))
                        self._places.setdefault(image_id, (opened[folder], Place(**row)))

    def __enter__(self) -> ImageReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._places, key=self._position))

    def _position(self, image_id: str) -> tuple[int, str, int]:
        files, place = self._places[image_id]
        return files, place.file, place.offset

    def close(self) -> None:
        """Close every archive."""
        for files in self._files:
            files.close()

    def read(self, image_id: str) -> bytes:
        """The file's bytes, whose sha256 is `image_id`.

        Raises:
            ImageError: `image_missing`, `image_changed`, or what reading it in place gave.
        """
        if image_id not in self._places:
            raise ImageError("image_missing", f"{image_id}: in none of the images.parquet given")
        files, place = self._places[image_id]
        data = self._files[files].read(place, max(place.bytes, 1))
        if sha256_bytes(data) != image_id:
            raise ImageError("image_changed", f"{place.name}: not the picture of {image_id} any more")
        return data
