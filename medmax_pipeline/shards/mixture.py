"""A recipe's mixture as entries to pack: which occurrences of which samples are kept, dropped or quarantined.

Order of decisions for a sample: taken by the mixture (`subset.py`), admitted at all, all pictures encoded, text usable,
not too long. Which samples a source offers is curation's matter; order and packs are `tokens/pack.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TypeVar

import pyarrow.parquet as pq

from medmax_pipeline.config import Recipe
from medmax_pipeline.errors import TokenError
from medmax_pipeline.records import IMAGE, Counts, Left, Sample
from medmax_pipeline.shards.subset import Choice
from medmax_pipeline.tokens.pack import Item, too_long
from medmax_pipeline.tokens.sequence import Outline, Sequencer

T = TypeVar("T")
NOT_ADMITTED = "credentialed_not_admitted"
NOT_ENCODED = "image_not_encoded"
TEXT_REFUSED = "text_refused"
MARKS_DISAGREE = "marks_disagree"
BATCH = 1024
"""Samples whose texts are encoded together."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """What `image_codes` published."""

    digests: Mapping[str, str]
    """Digest of the codes of each encoded picture."""
    credentialed: frozenset[str]
    failed: Mapping[str, str]
    """Reason of each picture that could not be encoded."""


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """A sample that is kept: its outline and what the index says of it."""

    sample_id: str
    source: str
    kind: str
    licence: str
    credentialed: bool
    images: tuple[str, ...]
    outline: Outline


@dataclass(slots=True)
class Mixed:
    """The mixture so far. Members by sample id; items are their occurrences."""

    members: dict[str, Member] = field(default_factory=dict)
    items: list[Item] = field(default_factory=list)
    drops: list[Left] = field(default_factory=list)
    quarantine: list[Left] = field(default_factory=list)

    def counts(self) -> Counts:
        """Over occurrences: a sample that is repeated twice counts twice, whatever became of it."""
        dropped = Counter(left.reason for left in self.drops)
        quarantined = Counter(left.reason for left in self.quarantine)
        kept = len(self.items)
        return Counts(
            taken=kept + len(self.drops) + len(self.quarantine),
            kept=kept,
            dropped=dict(sorted(dropped.items())),
            quarantined=dict(sorted(quarantined.items())),
        )


def read_pictures(folder: Path) -> Pictures:
    """The published `images.parquet` and `quarantine.parquet` of `image_codes`."""
    table = pq.read_table(folder / "images.parquet")
    ids = table["image_id"].to_pylist()
    flags = table["credentialed"].to_pylist()
    failed = pq.read_table(folder / "quarantine.parquet", columns=["unit", "reason"])
    return Pictures(
        digests=dict(zip(ids, table["code_digest"].to_pylist(), strict=True)),
        credentialed=frozenset(image_id for image_id, flag in zip(ids, flags, strict=True) if flag),
        failed=dict(zip(failed["unit"].to_pylist(), failed["reason"].to_pylist(), strict=True)),
    )


def mix(
    samples: Iterable[Sample],
    recipe: Recipe,
    pictures: Pictures,
    sequencer: Sequencer,
    edges: Mapping[str, int],
) -> Mixed:
    """Decide on every sample of the mixture, in the order given; each as often as its source is repeated.

    Args:
        samples: curated samples of the mixture's sources.
        recipe: says what it takes.
        pictures: what has codes.
        sequencer: of the tokenizers.
        edges: where its limits cut, as `limit_edges` gave them.
    """
    mixed = Mixed()
    choice = Choice(recipe.mixture, edges)
    for batch in _batches(samples, BATCH):
        usable = [sample for sample in batch if not _refused(sample, recipe, choice, pictures, mixed)]
        for sample, outline in zip(usable, _outlines(usable, sequencer), strict=True):
            _keep(sample, outline, recipe, pictures, sequencer, mixed)
    return mixed


def _refused(sample: Sample, recipe: Recipe, choice: Choice, pictures: Pictures, mixed: Mixed) -> bool:
    drop = choice.drop(sample)
    if drop is not None:
        mixed.drops += _left(sample, drop.reason, drop.detail, recipe)
        return True
    if _credentialed(sample, pictures) and not recipe.mixture.admit_credentialed:
        detail = f"recipe {recipe.name} does not admit credentialed samples"
        mixed.drops += _left(sample, NOT_ADMITTED, detail, recipe)
        return True
    for image_id in sample.images:
        if image_id not in pictures.digests:
            reason = pictures.failed.get(image_id, NOT_ENCODED)
            mixed.quarantine += _left(sample, reason, f"image {image_id}", recipe)
            return True
    return False


def _keep(
    sample: Sample,
    outline: Outline | TokenError,
    recipe: Recipe,
    pictures: Pictures,
    sequencer: Sequencer,
    mixed: Mixed,
) -> None:
    if isinstance(outline, TokenError):
        mixed.quarantine += _left(sample, TEXT_REFUSED, str(outline), recipe)
        return
    if outline.images != len(sample.images):
        detail = f"{outline.images} {IMAGE} marks for {len(sample.images)} images"
        mixed.quarantine += _left(sample, MARKS_DISAGREE, detail, recipe)
        return
    length = outline.length(sequencer.vocabulary)
    drop = too_long(length, recipe.packing)
    if drop:
        mixed.drops += _left(sample, drop.reason, drop.detail, recipe)
        return
    if sample.sample_id in mixed.members:
        raise TokenError(f"{sample.sample_id}: occurs twice in the curated samples. Curate again.")
    credentialed = _credentialed(sample, pictures)
    mixed.members[sample.sample_id] = Member(
        sample.sample_id, sample.source, sample.kind, sample.licence, credentialed, sample.images, outline
    )
    for repeat in range(_repeats(sample, recipe)):
        mixed.items.append(Item(sample.sample_id, repeat, length, credentialed))


def _outlines(samples: Sequence[Sample], sequencer: Sequencer) -> list[Outline | TokenError]:
    """Outlines of a batch; where it is refused, one by one, so that one bad text costs no other sample."""
    try:
        return list(sequencer.outlines([sample.turns for sample in samples]))
    except TokenError:
        made: list[Outline | TokenError] = []
        for sample in samples:
            try:
                made.append(sequencer.outline(sample.turns))
            except TokenError as error:
                made.append(error)
        return made


def _credentialed(sample: Sample, pictures: Pictures) -> bool:
    return sample.credentialed or not pictures.credentialed.isdisjoint(sample.images)


def _repeats(sample: Sample, recipe: Recipe) -> int:
    return recipe.mixture.repeat.get(sample.source, 1)


def _left(sample: Sample, reason: str, detail: str, recipe: Recipe) -> list[Left]:
    left = Left(sample.sample_id, reason, detail, sample.origin.file, sample.origin.row)
    return [left] * _repeats(sample, recipe)


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
