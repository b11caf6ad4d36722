"""A landing folder of the sample corpus, taken through raw and samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from medmax_pipeline.arrow import read_samples
from medmax_pipeline.records import Counts, Sample
from medmax_pipeline.sources import source
from tests.ingest.landings import make


class Ingested(NamedTuple):
    """What came of one source."""

    counts: Counts
    samples: tuple[Sample, ...]
    images: dict[str, dict[str, Any]]
    """Lines of `images.parquet` by image id."""
    unused: int
    """Pictures of the folder that no row names."""

    @property
    def figures(self) -> tuple[int, dict[str, int], dict[str, int]]:
        """Kept, dropped by reason, quarantined by reason."""
        assert self.counts.balanced
        return self.counts.kept, dict(self.counts.dropped), dict(self.counts.quarantined)


def ingested(store: Path, landing: Path, key: str, variant: str = "") -> Ingested:
    """One source's samples, from its folder in `landing`."""
    _, samples = make(store, landing, source(key, variant))
    images = pq.read_table(samples.folder / "images.parquet").to_pylist()
    unused = samples.manifest.summary["pictures_unused"]
    assert isinstance(unused, int)
    return Ingested(
        samples.manifest.counts,
        tuple(read_samples(samples.folder / "samples.parquet")),
        {image["image_id"]: image for image in images},
        unused,
    )
