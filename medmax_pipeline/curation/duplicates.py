"""Training samples that say the same about the same pictures, within a source and across sources.

Exact: equal turns, character by character, over pictures with equal pixels (another file format of the same pixels
counts as the same picture). One of them stays: an open one before a credentialed one, so that a recipe without
credentialed samples loses nothing; then the source named first in the build; then the smallest sample id.

Not seen: rewordings, rescaled or recompressed pictures. Evaluation samples are neither dropped nor kept in a training
sample's place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa

from medmax_pipeline.curation.columns import SAMPLES, pixel_digests, read_rows
from medmax_pipeline.files import canonical

DUPLICATE: Final = "duplicate_exact"
DUPLICATE_SCHEMA: Final = pa.schema(
    [("sample_id", pa.string()), ("reason", pa.string()), ("kept", pa.string()), ("kept_source", pa.string())]
)
"""One line a sample to drop: `kept` is the sample that says the same and stays."""
_COLUMNS = ("sample_id", "split", "credentialed", "turns", "images")


class Candidate(NamedTuple):
    """A sample in the order in which one of several equals is chosen; the smallest stays."""

    credentialed: bool
    source_rank: int
    sample_id: str


def content_key(turns: list[dict[str, Any]], pixels: list[str]) -> bytes:
    """16 bytes that equal samples share, taken over turns and pixel digests."""
    said = [[turn["role"], turn["text"]] for turn in turns]
    return hashlib.sha256(canonical([said, pixels])).digest()[:16]


def find_duplicates(folders: Mapping[str, Path]) -> Mapping[str, list[dict[str, str]]]:
    """Samples to drop, per source, in the order of the samples.

    Args:
        folders: published samples of each source, in the build's order.

    Returns:
        rows of `DUPLICATE_SCHEMA` for each source.
    """
    kept: dict[bytes, Candidate] = {}
    names = list(folders)
    for rank, folder in enumerate(folders.values()):
        for key, candidate in _candidates(rank, folder):
            kept[key] = min(kept.get(key, candidate), candidate)
    found: dict[str, list[dict[str, str]]] = {}
    for rank, (source, folder) in enumerate(folders.items()):
        found[source] = [
            {
                "sample_id": candidate.sample_id,
                "reason": DUPLICATE,
                "kept": kept[key].sample_id,
                "kept_source": names[kept[key].source_rank],
            }
            for key, candidate in _candidates(rank, folder)
            if candidate != kept[key]
        ]
    return found


def _candidates(rank: int, folder: Path) -> Iterator[tuple[bytes, Candidate]]:
    digests = pixel_digests(folder)
    for row in read_rows(folder / SAMPLES, _COLUMNS):
        if row["split"] == "train":
            key = content_key(row["turns"], [digests[image] for image in row["images"]])
            yield key, Candidate(row["credentialed"], rank, row["sample_id"])
