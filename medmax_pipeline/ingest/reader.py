"""Pictures by image id, for whoever must see pixels again: encoding and evaluation, on the machine with the landing.

Bytes are checked against the id that names them; nothing is cached or converted here. Imports nothing that a bare GPU
machine lacks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

import pyarrow.parquet as pq

from medmax_pipeline.errors import ImageError
from medmax_pipeline.files import sha256_bytes
from medmax_pipeline.ingest.archives import PictureFiles
from medmax_pipeline.records import ImageRef


class ImageReader:
    """Finds and reads pictures of any source. Safe to share between threads; open one in each process."""

    def __init__(self, landing: Path, images: Sequence[Path]) -> None:
        """Read where each picture lies.

        Args:
            landing: root of the landing folders.
            images: `images.parquet` of the sources' samples.
        """
        self._landing = landing
        self._places: dict[str, tuple[str, ImageRef]] = {}
        self._sources: dict[str, PictureFiles] = {}
        for path in images:
            with pq.ParquetFile(path) as table:
                for batch in table.iter_batches(columns=["image_id", "source", "file", "member"]):
                    for row in batch.to_pylist():
                        place = (row["source"], ImageRef(row["file"], row["member"]))
                        self._places.setdefault(row["image_id"], place)
        for source in {source for source, _ in self._places.values()}:
            self._sources[source] = PictureFiles(landing / source)

    def __enter__(self) -> ImageReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def close(self) -> None:
        """Close every archive."""
        for files in self._sources.values():
            files.close()

    def read(self, image_id: str) -> bytes:
        """The file's bytes, whose sha256 is `image_id`.

        Raises:
            ImageError: `image_missing`, `image_changed`, or what reading it in place gave.
        """
        if image_id not in self._places:
            raise ImageError("image_missing", f"{image_id}: in none of the images.parquet given")
        source, ref = self._places[image_id]
        data = self._sources[source].read(ref)
        if sha256_bytes(data) != image_id:
            raise ImageError(
                "image_changed", f"{source}/{ref.file} {ref.member}: not the picture of {image_id} any more"
            )
        return data
