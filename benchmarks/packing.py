"""Useful tokens of packs beside those of batches padded to their longest, and what planning either costs.

Lengths are drawn as the paper's mix has them: an image document cannot be shorter than its 1,024 codes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from benchmarks.measure import Claim
from medmax_pipeline.config import Packing
from medmax_pipeline.tokens.pack import Item, pack

SEQUENCES = 100_000
IMAGE = 1_026
"""Begin, codes and end."""
FRAME = 3
"""Begin, separator and end of a sequence."""
PACKING = Packing(token_budget=16_384, max_sequences=65_536, max_sequence=4_096)
PAPER_BATCH = 8
ROUND_UP = 128
"""A device's kernels take lengths rounded up to it; counted as waste."""


def texts(draw: np.random.Generator) -> list[int]:
    """Lengths of median 70 ids, mean 88."""
    return [int(length) for length in np.exp(draw.normal(np.log(70), 0.68, SEQUENCES))]


def one_picture(draw: np.random.Generator) -> list[int]:
    """A picture each."""
    return [FRAME + IMAGE + text for text in texts(draw)]


def mixed_pictures(draw: np.random.Generator) -> list[int]:
    """12 % without a picture, 6 % with two."""
    pictures = draw.choice([0, 1, 2], SEQUENCES, p=[0.12, 0.82, 0.06])
    return [FRAME + IMAGE * int(count) + text for count, text in zip(pictures, texts(draw), strict=True)]


def claim() -> list[Claim]:
    """CPU seconds to plan 100,000 sequences; the shares of useful tokens are told beside it."""
    draw = np.random.default_rng(0)
    return [_claim("one picture each", one_picture(draw)), _claim("none to two pictures", mixed_pictures(draw))]


def _claim(mix: str, lengths: list[int]) -> Claim:
    items = [Item(f"{number:032x}", 0, length, False) for number, length in enumerate(lengths)]
    total = sum(lengths)

    def padded(batch: int) -> Callable[[], int]:
        return lambda: sum(
            len(some) * max(some) for some in (lengths[at : at + batch] for at in range(0, SEQUENCES, batch))
        )

    def packed(packing: Packing) -> int:
        sums = [sum(item.length for item in one) for one in pack(items, packing)]
        assert sum(sums) == total
        return sum(-(-length // ROUND_UP) * ROUND_UP for length in sums)

    by_eight = replace(PACKING, max_sequences=PAPER_BATCH)
    shares = {f"padded, {batch} a batch": total / padded(batch)() for batch in (2, 4, 8, 16)}
    shares |= {"packs of 16,384": total / packed(PACKING), "packs of 8 sequences": total / packed(by_eight)}
    assert min(shares["packs of 16,384"], shares["packs of 8 sequences"]) > 0.99

    def remark(medians: Mapping[str, float]) -> str:
        return "Useful tokens: " + ", ".join(f"{name} {100 * share:.1f} %" for name, share in shares.items()) + "."

    return Claim(
        f"Planning {SEQUENCES:,} sequences, {mix}, mean {total / SEQUENCES:,.0f} ids",
        "CPU s",
        {"padded to the longest of 8": padded(PAPER_BATCH), "packs of 16,384": lambda: packed(PACKING)},
        remark=remark,
    )
