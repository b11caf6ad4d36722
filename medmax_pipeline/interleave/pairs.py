"""Which curated pairs are written about: samples of one picture with a caption, at most so many of a source, by id.

Every sample of a source that is none is named with its reason. Asking the author is `write.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow.parquet as pq

from medmax_pipeline.arrow import read_samples
from medmax_pipeline.records import Drop, Sample

PAIRS: Final = ("captioning", "generation")
"""Kinds whose samples are a picture and its caption, whichever way they are turned."""
NOT_A_PAIR: Final = "not_a_pair"
BEYOND_LIMIT: Final = "beyond_limit"
CREDENTIALED: Final = "credentialed_not_admitted"
BATCH: Final = 8192


def place(sample_id: str) -> int:
    """A number below 2**64 that belongs to a sample id for good; drawn apart from any mixture's."""
    return int.from_bytes(hashlib.sha256(f"interleave:{sample_id}".encode()).digest()[:8])


def edge_of(curated: Path, most: int | None) -> int:
    """The highest place among the `most` pairs of a source that are written about; 8 bytes a pair in memory.

    Args:
        curated: published folder of the source's curated samples.
        most: None: all.
    """
    everything = 2**64
    if most is None:
        return everything
    places = []
    with pq.ParquetFile(curated / "samples.parquet") as table:
        for batch in table.iter_batches(BATCH, columns=["sample_id", "kind", "images", "context"]):
            places += [place(row["sample_id"]) for row in batch.to_pylist() if _is_pair(**row)]
    if most >= len(places):
        return everything
    return int(np.partition(np.array(places, np.uint64), most - 1)[most - 1]) if most else -1


def _is_pair(sample_id: str, kind: str, images: list[str], context: str) -> bool:
    return kind in PAIRS and len(images) == 1 and bool(context.strip())


@dataclass(frozen=True, slots=True)
class Choice:
    """What is written about."""

    folders: Mapping[str, Path]
    """Curated samples by source."""
    edges: Mapping[str, int]
    """As `edge_of` gave them."""
    may_see_credentialed: bool

    def all(self) -> Iterator[tuple[Sample, Drop | None]]:
        """Every curated sample of the sources, in their order, and why it is not written about."""
        for source, folder in self.folders.items():
            for sample in read_samples(folder / "samples.parquet"):
                yield sample, self._drop(sample, source)

    def _drop(self, sample: Sample, source: str) -> Drop | None:
        if not _is_pair(sample.sample_id, sample.kind, list(sample.images), sample.context):
            return Drop(NOT_A_PAIR, sample.kind)
        if sample.credentialed and not self.may_see_credentialed:
            return Drop(CREDENTIALED, "the endpoint may not see rows of credentialed sources")
        if place(sample.sample_id) > self.edges[source]:
            return Drop(BEYOND_LIMIT)
        return None
