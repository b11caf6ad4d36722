"""Near hashes: every pair once, none missed, and equal ones cheap."""

from __future__ import annotations

import numpy as np
import pytest

from medmax_pipeline.curation.neighbours import MAX_BITS, Hashes, Table, gathered, pairs_within


def crowded(count: int, seed: int = 0) -> Hashes:
    """Random hashes, a third of them a few bits from another one."""
    chance = np.random.default_rng(seed)
    hashes = chance.integers(0, 2**64, count, dtype=np.uint64)
    for at in range(0, count - 1, 3):
        bits = chance.choice(64, int(chance.integers(0, 10)), replace=False)
        hashes[at + 1] = hashes[at] ^ np.bitwise_or.reduce(np.uint64(1) << bits.astype(np.uint64), initial=np.uint64(0))
    return np.unique(hashes)


@pytest.mark.parametrize("bits", range(MAX_BITS + 1))
def test_all_pairs_are_those_of_a_plain_comparison(bits: int) -> None:
    hashes = crowded(900)
    distance = np.bitwise_count(hashes[:, None] ^ hashes[None])
    expected = np.argwhere(np.triu(distance <= bits, 1))
    found = gathered(pairs_within(hashes, bits))
    pairs = np.stack([found.left, found.right], 1)
    assert sorted(map(tuple, pairs.tolist())) == sorted(map(tuple, expected.tolist()))
    assert (found.bits == distance[found.left, found.right]).all()


@pytest.mark.parametrize("bits", [0, 6, 7])
def test_queries_find_what_a_plain_comparison_finds(bits: int) -> None:
    hashes = crowded(900)
    queries = np.concatenate([hashes[::5], hashes[::7] ^ np.uint64(1 << 63 | 5)])
    expected = np.argwhere(np.bitwise_count(queries[:, None] ^ hashes[None]) <= bits)
    found = gathered(Table(hashes).near(queries, bits))
    assert sorted(zip(found.left.tolist(), found.right.tolist(), strict=True)) == sorted(map(tuple, expected.tolist()))


def test_hashes_that_share_three_bands_are_no_trap() -> None:
    hashes = np.arange(3000, dtype=np.uint64)
    expected = np.triu(np.bitwise_count(hashes[:, None] ^ hashes[None]) <= 2, 1).sum()
    assert len(gathered(pairs_within(hashes, 2)).left) == expected


def test_nothing_has_no_pairs() -> None:
    assert len(gathered(pairs_within(np.zeros(0, np.uint64), 6)).left) == 0


def test_more_bits_than_the_bands_can_promise_are_refused() -> None:
    with pytest.raises(AssertionError, match="could be missed"):
        list(pairs_within(crowded(9), MAX_BITS + 1))
