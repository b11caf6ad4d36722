"""Which pictures an image tokenizer is tuned on, and which of those it is measured on. Loads no torch.

Pictures of curated samples: training split only, what curation dropped is gone. A picture that any source evaluates on
is never among them, credentialed ones only where the build admits them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from medmax_pipeline.config import TokenizerTuning
from medmax_pipeline.files import sha256_bytes
from medmax_pipeline.steps import Artifact

EVALUATED = "evaluation_picture"
NOT_ADMITTED = "credentialed_not_admitted"
HELD_OUT = "held_out"
HELD_OUT_SHARE = 10
"""At most one picture in so many is held out."""


@dataclass(frozen=True)
class Choice:
    """Image ids, sorted, and why others are not among them."""

    trained: tuple[str, ...]
    held_out: tuple[str, ...]
    dropped: Mapping[str, int]
    """Pictures by reason, held-out ones among them."""
    licences: tuple[str, ...]
    credentialed: bool
    """Whether a chosen picture is."""
    left_out: tuple[str, ...]
    """Sources that are locked."""


@dataclass
class _Seen:
    """What the samples that show a picture say of it."""

    licences: set[str]
    credentialed: bool


def choose(
    inputs: Mapping[str, Artifact], sources: Iterable[str], trained: Iterable[str], tuning: TokenizerTuning
) -> Choice:
    """Choose among the pictures of the build.

    Args:
        inputs: `<source>/samples` of all sources and `<source>/curated` of the trained ones; locked ones hold none.
        sources: keys of all sources.
        trained: keys of the curated ones.
        tuning: says what is admitted, how many are held out, and the seed that picks them.
    """
    known = list(trained)
    evaluated: set[str] = set()
    for source in sources:
        for images, _, _ in _rows(inputs[f"{source}/samples"], "eval"):
            evaluated.update(images)
    seen: dict[str, _Seen] = {}
    for source in known:
        for images, licence, credentialed in _rows(inputs[f"{source}/curated"], "train"):
            for image_id in images:
                entry = seen.setdefault(image_id, _Seen(set(), False))
                entry.licences.add(licence)
                entry.credentialed |= credentialed
    dropped: Counter[str] = Counter()
    fit = []
    for image_id in sorted(seen):
        if image_id in evaluated:
            dropped[EVALUATED] += 1
        elif seen[image_id].credentialed and not tuning.admit_credentialed:
            dropped[NOT_ADMITTED] += 1
        else:
            fit.append(image_id)
    by_chance = sorted(fit, key=lambda image_id: sha256_bytes(f"{tuning.seed} {image_id}".encode()))
    held_out = set(by_chance[: min(tuning.held_out, len(fit) // HELD_OUT_SHARE)])
    if held_out:
        dropped[HELD_OUT] = len(held_out)
    return Choice(
        trained=tuple(image_id for image_id in fit if image_id not in held_out),
        held_out=tuple(sorted(held_out)),
        dropped=dict(sorted(dropped.items())),
        licences=tuple(sorted({licence for image_id in fit for licence in seen[image_id].licences})),
        credentialed=any(seen[image_id].credentialed for image_id in fit),
        left_out=tuple(source for source in known if inputs[f"{source}/curated"].locked),
    )


def _rows(artifact: Artifact, split: str) -> Iterable[tuple[list[str], str, bool]]:
    """Pictures, licence and credentials of the samples of one split."""
    if artifact.locked:
        return
    path: Path = artifact.folder / "samples.parquet"
    with pq.ParquetFile(path) as table:
        for batch in table.iter_batches(columns=["split", "images", "licence", "credentialed"]):
            for row in batch.to_pylist():
                if row["split"] == split:
                    yield row["images"], row["licence"], row["credentialed"]
