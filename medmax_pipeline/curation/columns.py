"""The columns of published samples that decisions read, streamed from Parquet.

Reading only; a decision's rule belongs to its own file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

from medmax_pipeline.steps import Artifact

SAMPLES: Final = "samples.parquet"
IMAGES: Final = "images.parquet"


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Rows of a Parquet file with some of its columns, a batch at a time."""
    with pq.ParquetFile(path) as table:
        for batch in table.iter_batches(batch_size=4096, columns=list(columns)):
            yield from batch.to_pylist()


def unlocked(sources: Sequence[str], inputs: Mapping[str, Artifact]) -> dict[str, Path]:
    """Folder of the samples of each source that is not locked, in the build's order."""
    found = {key: inputs[f"{key}/samples"] for key in sources}
    return {key: artifact.folder for key, artifact in found.items() if not artifact.locked}


def pixel_digests(folder: Path) -> dict[str, str]:
    """Pixel digest of each image id of one source's samples."""
    return {row["image_id"]: row["pixel_digest"] for row in read_rows(folder / IMAGES, ("image_id", "pixel_digest"))}
