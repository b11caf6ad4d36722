"""Every picture of all sources as columns of numbers: what it is equal to, what it looks like, which side shows it.

Some 100 bytes a picture, so that a million of them lie in memory; samples are streamed past. Deciding belongs to
`duplicates.py` and `leakage.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from medmax_pipeline.curation.columns import IMAGES, SAMPLES

Column = npt.NDArray[Any]
_DIGEST: Final = "V32"
_BATCH: Final = 65536


@dataclass(frozen=True, slots=True)
class Pictures:
    """Distinct pictures, sorted by id; N in each column."""

    sources: tuple[str, ...]
    """In the build's order."""
    ids: Column
    """32 bytes each."""
    hashes: Column
    """uint64, perceptual."""
    pixels: Column
    """int64: equal numbers for equal pixels."""
    width: Column
    height: Column
    source: Column
    """int16: the first source that holds it."""
    train: Column
    """bool: whether any training sample shows it; like the next two."""
    evaluated: Column
    credentialed: Column

    def __len__(self) -> int:
        return len(self.ids)

    def id(self, number: int) -> str:
        """Image id, 64 hex digits."""
        return bytes(self.ids[number].tobytes()).hex()

    def number(self, image_ids: Sequence[str]) -> npt.NDArray[np.int64]:
        """Numbers of pictures that are there."""
        return np.searchsorted(self.ids, _digests(image_ids)).astype(np.int64)

    def short_side(self) -> Column:
        """Pixels of the shorter side."""
        found: Column = np.minimum(self.width, self.height)
        return found


def _digests(values: Sequence[str]) -> Column:
    """Ids or digests, each 64 hex digits, as 32 bytes."""
    return np.frombuffer(bytes.fromhex("".join(values)), _DIGEST)


def gather(folders: Mapping[str, Path]) -> Pictures:
    """The pictures of published samples, by source in the build's order."""
    parts: dict[str, list[Column]] = {name: [] for name in ("id", "hash", "pixels", "width", "height", "source")}
    for rank, folder in enumerate(folders.values()):
        columns = ["image_id", "phash", "pixel_digest", "width", "height"]
        with pq.ParquetFile(folder / IMAGES) as table:
            for batch in table.iter_batches(_BATCH, columns=columns):
                image, phash, pixels = (batch.column(name).to_pylist() for name in columns[:3])
                parts["id"].append(_digests(image))
                parts["hash"].append(np.frombuffer(bytes.fromhex("".join(phash)), ">u8").astype(np.uint64))
                parts["pixels"].append(_digests(pixels))
                parts["width"].append(batch.column("width").to_numpy())
                parts["height"].append(batch.column("height").to_numpy())
                parts["source"].append(np.full(batch.num_rows, rank, np.int16))
    whole = {name: np.concatenate(part) if part else np.zeros(0, _EMPTY[name]) for name, part in parts.items()}
    ids, first = np.unique(whole["id"], return_index=True)
    _, pixels = np.unique(whole["pixels"][first], return_inverse=True)
    shown = [np.zeros(len(ids), np.bool_) for _ in range(3)]
    for folder in folders.values():
        for sides, credentialed, images in shown_by(folder):
            numbers = np.searchsorted(ids, _digests(images)) if images else np.zeros(0, np.int64)
            shown[0][numbers[~sides]] = True
            shown[1][numbers[sides]] = True
            shown[2][numbers[credentialed]] = True
    rest = (whole[name][first] for name in ("width", "height", "source"))
    return Pictures(tuple(folders), ids, whole["hash"][first], pixels.astype(np.int64), *rest, *shown)


_EMPTY: Final = {"id": _DIGEST, "hash": "u8", "pixels": _DIGEST, "width": "i4", "height": "i4", "source": "i2"}


def shown_by(folder: Path) -> Iterator[tuple[Column, Column, list[str]]]:
    """For each picture of each sample: whether it is evaluated on, whether credentialed, and its id; a batch a time."""
    with pq.ParquetFile(folder / SAMPLES) as table:
        for batch in table.iter_batches(_BATCH, columns=["split", "images", "credentialed"]):
            images = batch.column("images")
            owner = pc.list_parent_indices(images).to_numpy()
            sides = pc.equal(batch.column("split"), "eval").to_numpy(zero_copy_only=False)[owner]
            credentialed = batch.column("credentialed").to_numpy(zero_copy_only=False)[owner]
            yield sides, credentialed, pc.list_flatten(images).to_pylist()


def release() -> None:
    """Give back memory that Arrow keeps after reading."""
    pa.default_memory_pool().release_unused()
