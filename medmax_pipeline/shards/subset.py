"""Which samples of its sources a recipe's mixture takes: at most so many of a source, these kinds, this share.

Every choice is made by sample id alone, so that a smaller subset is contained in a larger one and an ablation in the
whole: `limit` counts all samples of a source, whatever their kind, and `subset` is drawn apart from it. What becomes of
the samples that are taken is `mixture.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import pyarrow.parquet as pq

from medmax_pipeline.config import Mixture
from medmax_pipeline.records import Drop, Sample

BEYOND_LIMIT: Final = "beyond_limit"
KIND_LEFT_OUT: Final = "kind_left_out"
NOT_IN_SUBSET: Final = "not_in_subset"
BITS: Final = 64


def place(purpose: Literal["limit", "subset"], sample_id: str) -> int:
    """A number below 2**64 that belongs to a sample id for good; the two purposes are drawn apart."""
    return int.from_bytes(hashlib.sha256(f"mixture-{purpose}:{sample_id}".encode()).digest()[: BITS // 8])


def limit_edges(mixture: Mixture, curated: Mapping[str, Path]) -> dict[str, int]:
    """The highest place that `limit` leaves in each source it cuts; 8 bytes a sample of one source at a time.

    Args:
        mixture: of the recipe.
        curated: published folder of each source's curated samples.
    """
    edges = {}
    for source, most in mixture.limit.items():
        if source not in curated:
            continue
        with pq.ParquetFile(curated[source] / "samples.parquet") as table:
            places = np.empty(table.metadata.num_rows, np.uint64)
            at = 0
            for batch in table.iter_batches(65536, columns=["sample_id"]):
                for name in batch.column(0).to_pylist():
                    places[at] = place("limit", name)
                    at += 1
        if most < len(places):
            edges[source] = int(np.partition(places, most - 1)[most - 1])
    return edges


@dataclass(frozen=True, slots=True)
class Choice:
    """What a mixture takes."""

    mixture: Mixture
    edges: Mapping[str, int]
    """As `limit_edges` gave them."""

    def drop(self, sample: Sample) -> Drop | None:
        """Why the mixture does not take a sample, or None."""
        mixture = self.mixture
        edge = self.edges.get(sample.source)
        if edge is not None and place("limit", sample.sample_id) > edge:
            return Drop(BEYOND_LIMIT, f"the recipe takes {mixture.limit[sample.source]:,} of {sample.source}")
        if (mixture.kinds and sample.kind not in mixture.kinds) or sample.kind in mixture.without:
            return Drop(KIND_LEFT_OUT, sample.kind)
        if place("subset", sample.sample_id) >= mixture.subset * 2**BITS:
            return Drop(NOT_IN_SUBSET, f"the recipe takes {100 * mixture.subset:g} %")
        return None
