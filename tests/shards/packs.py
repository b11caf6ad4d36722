"""Packs of seeded ids, without tokenizers."""

from __future__ import annotations

import numpy as np

from medmax_pipeline.shards.writer import Entry
from medmax_pipeline.tokens.sequence import Sequence, Span


def entry(number: int, length: int, *, credentialed: bool = False) -> Entry:
    """A sequence of any ids; its last half is trained."""
    ids = np.random.default_rng(number).integers(0, 65_536, length).astype(np.uint16)
    source = "cxr" if credentialed else "vqa"
    sequence = Sequence(ids, (Span(length // 2, length),))
    return Entry(f"{number:032x}", source, "vqa_open", "CC0-1.0", credentialed, sequence)
