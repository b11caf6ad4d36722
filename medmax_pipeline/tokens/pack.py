"""Which sequences share a pack, one training step's unit: whole sequences under a token budget.

Only lengths are looked at, so that a plan costs nothing beside the data. Nothing is cut or padded here; writing packs
down is `shards/writer.py`, padding the collator's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from medmax_pipeline.config import Packing
from medmax_pipeline.errors import TokenError
from medmax_pipeline.records import Drop

TOO_LONG = "too_long"


@dataclass(frozen=True, slots=True)
class Item:
    """One occurrence of a sample in the mixture."""

    sample_id: str
    repeat: int
    """0 for its first occurrence in an epoch, 1 for the second…"""
    length: int
    """Ids of its sequence."""
    credentialed: bool


def too_long(length: int, packing: Packing) -> Drop | None:
    """A drop for a sequence beyond the recipe's `max_sequence`; sequences are never cut."""
    if length <= packing.max_sequence:
        return None
    return Drop(TOO_LONG, f"{length} ids, at most {packing.max_sequence}")


def shuffled(items: Iterable[Item], seed: int) -> list[Item]:
    """Items in the recipe's seeded order: by sha256 of seed, sample id and repeat.

    The order depends on no library's generator and not on the order given; one more sample moves no other.
    """

    def key(item: Item) -> bytes:
        return hashlib.sha256(f"{seed}:{item.sample_id}:{item.repeat}".encode()).digest()

    return sorted(items, key=key)


def pack(items: Sequence[Item], packing: Packing) -> list[list[Item]]:
    """Items in the order given as packs that close before they pass `token_budget` ids or `max_sequences` items.

    Raises:
        TokenError: credentialed and open items come together (pack them apart), or an item is longer than a pack.
    """
    if len({item.credentialed for item in items}) > 1:
        raise TokenError("credentialed and open sequences must not share a pack. Pack them apart.")
    packs: list[list[Item]] = []
    used = packing.token_budget
    for item in items:
        if too_long(item.length, packing) or item.length > packing.token_budget:
            raise TokenError(
                f"{item.sample_id}: {item.length} ids fit no pack of {packing.token_budget}. Drop it first."
            )
        if used + item.length > packing.token_budget or len(packs[-1]) == packing.max_sequences:
            packs.append([])
            used = 0
        packs[-1].append(item)
        used += item.length
    return packs
