"""Which samples a task asks, in which order and in which batches.

The choice depends on the samples alone, never on the machine, on a resume or on what was answered before. Items that
show the same picture stand together, since a model reads a shared beginning once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medmax_pipeline.errors import StoreError
from medmax_pipeline.eval.task import Task
from medmax_pipeline.files import digest_of
from medmax_pipeline.records import Sample

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from medmax_pipeline.tokens.store import CodeStore

SEED_DIGITS = 12
"""Hex digits of an item's seed: 48 bits, which every generator takes and JSON keeps exactly."""


@dataclass(frozen=True, eq=False)
class Item:
    """A sample as one question to a model."""

    sample: Sample
    model: str
    """Name under which the answer is filed: a recipe or `base`."""
    codes: tuple[npt.NDArray[np.uint16], ...] | None
    """Of the sample's pictures, in order; None where one of them has no codes."""
    seed: int

    @property
    def cluster(self) -> str:
        """What items share when they are not independent: the first picture, else the sample itself."""
        return self.sample.images[0] if self.sample.images else self.sample.sample_id


@dataclass(frozen=True)
class Chosen:
    """The items of a task, and how many candidates there were."""

    samples: tuple[Sample, ...]
    candidates: int


def choose(files: Iterable[Path], task: Task, limit: int | None, without: frozenset[str] = frozenset()) -> Chosen:
    """The task's items out of its source's samples.

    Args:
        files: `samples.parquet` files.
        task: says which samples are items.
        without: ids of samples that are withdrawn: candidates that are not asked.
        limit: keep the first so many by sample id, which is a digest and so a fair draw; None: all.

    Raises:
        StoreError: a sample id occurs twice.
    """
    from medmax_pipeline.arrow import read_samples

    found: dict[str, Sample] = {}
    for path in files:
        for sample in read_samples(path):
            if task.accepts(sample):
                if sample.sample_id in found:
                    raise StoreError(f"{path}: sample {sample.sample_id} occurs twice; every item is asked once.")
                found[sample.sample_id] = sample
    first = sorted(found.keys() - without)[:limit]
    kept = sorted((found[key] for key in first), key=lambda sample: (sample.images, sample.sample_id))
    return Chosen(tuple(kept), len(found))


def in_batches(samples: Sequence[Sample], size: int) -> list[tuple[Sample, ...]]:
    """Batches of `size`, the last one shorter; the same samples give the same batches."""
    return [tuple(samples[start : start + size]) for start in range(0, len(samples), size)]


def item_seed(seed: int, sample_id: str) -> int:
    """The seed of one item: it depends on the run's seed and the sample, not on the item's place."""
    return int(digest_of([seed, sample_id])[:SEED_DIGITS], 16)


def as_items(samples: Sequence[Sample], model: str, codes: CodeStore, seed: int) -> list[Item]:
    """Samples with the codes of their pictures."""
    wanted = sorted({image for sample in samples for image in sample.images})
    absent = set(codes.missing(wanted))
    known = [image for image in wanted if image not in absent]
    by_image = dict(zip(known, codes.get_many(known), strict=True)) if known else {}
    return [
        Item(
            sample,
            model,
            None if absent.intersection(sample.images) else tuple(by_image[image] for image in sample.images),
            item_seed(seed, sample.sample_id),
        )
        for sample in samples
    ]
