"""Training samples whose picture is an evaluation picture, looked for across all sources.

Exact: the same file (image id) or the same pixels in another file (pixel digest: lossless re-encodings, other
containers, other metadata). To show that the search finds what it should, copies of some evaluation pictures are
planted, once as the same bytes and once re-encoded as PNG; one that is not found is an error, no lower number.

Not seen: crops, rescalings, lossy re-compressions, changes of brightness or contrast, rotations, burned-in marks, other
slices or frames of the same examination, and anything that leaks by text alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import pyarrow as pa

from medmax_pipeline.curation.columns import SAMPLES, pixel_digests, read_rows
from medmax_pipeline.errors import ImageError, MedmaxError
from medmax_pipeline.ingest.images import encode_png, probe

LEAK_BYTES: Final = "leak_same_file"
LEAK_PIXELS: Final = "leak_same_pixels"
LEAK_SCHEMA: Final = pa.schema(
    [
        ("sample_id", pa.string()),
        ("reason", pa.string()),
        ("image_id", pa.string()),
        ("eval_source", pa.string()),
        ("eval_image", pa.string()),
    ]
)
"""One line a sample to drop: its first picture that leaks and the evaluation picture it equals."""
PLANTED_A_SOURCE: Final = 4
"""Ours: evaluation pictures of each source that are planted, the first by image id."""


class Match(NamedTuple):
    """An evaluation picture that a training picture equals."""

    reason: str
    source: str
    image_id: str


class EvaluationPictures:
    """Every picture of every evaluation set, by bytes and by pixels."""

    def __init__(self) -> None:
        self._by_bytes: dict[str, str] = {}
        self._by_pixels: dict[str, tuple[str, str]] = {}

    def __len__(self) -> int:
        return len(self._by_bytes)

    def add(self, source: str, image_id: str, pixel_digest: str) -> None:
        """Take one evaluation picture; the source that brought it first names it."""
        self._by_bytes.setdefault(image_id, source)
        self._by_pixels.setdefault(pixel_digest, (source, image_id))

    def match(self, image_id: str, pixel_digest: str) -> Match | None:
        """The evaluation picture that this picture equals, bytes before pixels."""
        if image_id in self._by_bytes:
            return Match(LEAK_BYTES, self._by_bytes[image_id], image_id)
        if pixel_digest in self._by_pixels:
            return Match(LEAK_PIXELS, *self._by_pixels[pixel_digest])
        return None

    def of(self, source: str) -> list[str]:
        """Sorted ids of the pictures that a source brought first."""
        return sorted(image for image, owner in self._by_bytes.items() if owner == source)


def collect(folders: Mapping[str, Path]) -> EvaluationPictures:
    """The evaluation pictures of all sources.

    Args:
        folders: published samples of each source.
    """
    pictures = EvaluationPictures()
    for source, folder in folders.items():
        digests = pixel_digests(folder)
        for row in read_rows(folder / SAMPLES, ("split", "images")):
            if row["split"] == "eval":
                for image in row["images"]:
                    pictures.add(source, image, digests[image])
    return pictures


def find_leaks(folder: Path, pictures: EvaluationPictures) -> list[dict[str, str]]:
    """The training samples of one source that show an evaluation picture: rows of `LEAK_SCHEMA`."""
    digests = pixel_digests(folder)
    leaks = []
    for row in read_rows(folder / SAMPLES, ("sample_id", "split", "images")):
        if row["split"] != "train":
            continue
        for image in row["images"]:
            match = pictures.match(image, digests[image])
            if match is not None:
                leaks.append(
                    {
                        "sample_id": row["sample_id"],
                        "reason": match.reason,
                        "image_id": image,
                        "eval_source": match.source,
                        "eval_image": match.image_id,
                    }
                )
                break
    return leaks


class Planted(NamedTuple):
    """Copies of evaluation pictures that were looked for, and how many were found."""

    same_bytes: int
    re_encoded: int
    found: int
    deep: int
    """Pictures above 8 bits, which were planted as bytes only."""

    @property
    def recall(self) -> float | None:
        """Share found; None where there was nothing to plant."""
        total = self.same_bytes + self.re_encoded
        return self.found / total if total else None


def plant(pictures: EvaluationPictures, image_ids: Iterable[str], read: Callable[[str], bytes]) -> Planted:
    """Look for copies of evaluation pictures as if they were training pictures.

    Args:
        pictures: what is searched.
        image_ids: evaluation pictures to copy.
        read: bytes of a picture by its id.

    Raises:
        MedmaxError: a copy is not found, so no result of this search may be trusted.
    """
    same_bytes = re_encoded = found = deep = 0
    missed = []
    for image_id in image_ids:
        data = read(image_id)
        copies = {"same bytes": data}
        try:
            copies["PNG"] = encode_png(data)
            re_encoded += 1
        except ImageError:
            deep += 1
        same_bytes += 1
        for form, copy in copies.items():
            seen = probe(copy)
            if pictures.match(seen.image_id, seen.pixel_digest) is None:
                missed.append(f"{image_id} as {form}")
            else:
                found += 1
    if missed:
        raise MedmaxError(
            f"leakage: {len(missed)} of {same_bytes + re_encoded} planted copies were not found, the first is "
            f"{missed[0]}. The search cannot be trusted; nothing is published. This is a fault of the search, or the "
            "pictures changed since samples were made."
        )
    return Planted(same_bytes, re_encoded, found, deep)
