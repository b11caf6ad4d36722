"""Training samples that say the same about the same pictures, within a source and across sources.

Exact: equal turns, character by character, over pictures with equal pixels (another file format of the same pixels
counts as the same picture). Near, where the build says so: over pictures of the same cluster (`clusters.py`), with
turns that differ in case, spaces and closing punctuation at most. Copies of a picture with something else to say stay.
One sample of several stays: an open one before a credentialed one, so that a recipe without credentialed samples loses
nothing; then the source named first in the build; then the smallest sample id.

Not seen: rewordings, flips and turns, cuts of more than a few per cent. Evaluation samples are neither dropped nor kept
in a training sample's place.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa

from medmax_pipeline.curation.columns import SAMPLES, pixel_digests, read_rows
from medmax_pipeline.files import canonical

DUPLICATE: Final = "duplicate_exact"
NEAR_DUPLICATE: Final = "duplicate_near"
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


def near_key(turns: list[dict[str, Any]], pictures: list[str]) -> bytes:
    """16 bytes that nearly equal samples share, taken over turns and the pictures kept in place of theirs."""
    said = [[turn["role"], _loosely(turn["text"])] for turn in turns]
    return hashlib.sha256(canonical([said, pictures])).digest()[:16]


def _loosely(text: str) -> str:
    """The text without case, doubled spaces and closing punctuation."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).rstrip(" .!?")


class _Keys(NamedTuple):
    exact: bytes
    near: bytes
    """Empty where near ones are not looked for."""


def find_duplicates(
    folders: Mapping[str, Path], clusters: Mapping[str, str] | None = None
) -> Mapping[str, list[dict[str, str]]]:
    """Samples to drop, per source, in the order of the samples.

    Args:
        folders: published samples of each source, in the build's order.
        clusters: for pictures of a cluster, the one kept in their place; None: near duplicates are not looked for.

    Returns:
        rows of `DUPLICATE_SCHEMA` for each source.
    """
    exact: dict[bytes, Candidate] = {}
    near: dict[bytes, Candidate] = {}
    names = list(folders)
    for rank, folder in enumerate(folders.values()):
        for keys, candidate in _candidates(rank, folder, clusters):
            exact[keys.exact] = min(exact.get(keys.exact, candidate), candidate)
            if keys.near:
                near[keys.near] = min(near.get(keys.near, candidate), candidate)
    found: dict[str, list[dict[str, str]]] = {}
    for rank, (source, folder) in enumerate(folders.items()):
        found[source] = rows = []
        for keys, candidate in _candidates(rank, folder, clusters):
            kept, reason = exact[keys.exact], DUPLICATE
            if candidate == kept and keys.near:
                kept, reason = near[keys.near], NEAR_DUPLICATE
            if candidate != kept:
                values = (candidate.sample_id, reason, kept.sample_id, names[kept.source_rank])
                rows.append(dict(zip(DUPLICATE_SCHEMA.names, values, strict=True)))
    return found


def _candidates(rank: int, folder: Path, clusters: Mapping[str, str] | None) -> Iterator[tuple[_Keys, Candidate]]:
    digests = pixel_digests(folder)
    for row in read_rows(folder / SAMPLES, _COLUMNS):
        if row["split"] == "train":
            key = content_key(row["turns"], [digests[image] for image in row["images"]])
            near = b""
            if clusters is not None:
                near = near_key(row["turns"], [clusters.get(image, image) for image in row["images"]])
            yield _Keys(key, near), Candidate(row["credentialed"], rank, row["sample_id"])
