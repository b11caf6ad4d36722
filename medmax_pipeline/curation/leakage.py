"""Training samples whose picture is an evaluation picture, looked for across all sources.

By bytes (image id), by pixels in another file (pixel digest: lossless re-encodings, other containers, other metadata),
and, where the build says so, by looking: cut, framed, turned, flipped, rescaled, pressed, toned (`copies.py`). What
evaluation items lose by it is in `evaluated.py`; that the search works is proven in `planted.py`.

Not seen: an evaluation picture that is a small part of a training picture, or the other way round (more than 15 % cut
off a side); turns of more than 5 degrees, and upside down; a panel pasted into a figure with others; changes of shape;
large marks drawn over it; pictures so small or so flat that nothing is left to compare; another slice, frame or visit
of the same patient; and what leaks by text alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa

from medmax_pipeline.curation.columns import SAMPLES, pixel_digests, read_rows

LEAK_BYTES: Final = "leak_same_file"
LEAK_PIXELS: Final = "leak_same_pixels"
LEAK_NEAR: Final = "leak_near"
LEAK_SCHEMA: Final = pa.schema(
    [
        ("sample_id", pa.string()),
        ("reason", pa.string()),
        ("image_id", pa.string()),
        ("eval_source", pa.string()),
        ("eval_image", pa.string()),
        ("measure", pa.float64()),
        ("change", pa.string()),
    ]
)
"""One line a sample to drop: its first picture that leaks and the evaluation picture it shows; `measure` is 1 for equal
pixels, else the correlation of detail, and `change` what was done to the picture."""


class Match(NamedTuple):
    """An evaluation picture that a training picture equals."""

    reason: str
    source: str
    image_id: str
    measure: float = 1.0
    change: str = ""


class EvaluationPictures:
    """Every picture of every evaluation set, by bytes and by pixels."""

    def __init__(self) -> None:
        self._by_bytes: dict[str, str] = {}
        self._by_pixels: dict[str, tuple[str, str]] = {}
        self._near: dict[str, Match] = {}
        self._digests: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._by_bytes)

    def add(self, source: str, image_id: str, pixel_digest: str) -> None:
        """Take one evaluation picture; the source that brought it first names it."""
        self._by_bytes.setdefault(image_id, source)
        self._by_pixels.setdefault(pixel_digest, (source, image_id))
        self._digests[image_id] = pixel_digest

    def add_near(self, train_image: str, image_id: str, measure: float, change: str) -> None:
        """Take what looking found: a training picture that shows an evaluation picture changed; the nearest counts."""
        known = self._near.get(train_image)
        if known is None or known.measure < measure:
            self._near[train_image] = Match(LEAK_NEAR, self._by_bytes[image_id], image_id, measure, change)

    def match(self, image_id: str, pixel_digest: str) -> Match | None:
        """The evaluation picture that this picture shows: by bytes before by pixels before by looking."""
        if image_id in self._by_bytes:
            return Match(LEAK_BYTES, self._by_bytes[image_id], image_id)
        if pixel_digest in self._by_pixels:
            return Match(LEAK_PIXELS, *self._by_pixels[pixel_digest])
        return self._near.get(image_id)

    def pixels(self) -> dict[str, str]:
        """Pixel digest of each evaluation picture."""
        return self._digests

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


def find_leaks(folder: Path, pictures: EvaluationPictures) -> list[dict[str, Any]]:
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
                        "measure": match.measure,
                        "change": match.change,
                    }
                )
                break
    return leaks
