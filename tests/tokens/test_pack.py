"""Whole sequences under a budget, in an order of their own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmax_pipeline.config import Packing
from medmax_pipeline.errors import TokenError
from medmax_pipeline.tokens.pack import Item, pack, shuffled, too_long

PACKING = Packing(token_budget=100, max_sequences=4, max_sequence=60)


def items(lengths: list[int], credentialed: bool = False) -> list[Item]:
    return [Item(f"{index:032x}", 0, length, credentialed) for index, length in enumerate(lengths)]


@given(st.lists(st.integers(1, 60)))
def test_nothing_is_lost_cut_or_moved_and_budgets_hold(lengths: list[int]) -> None:
    given_items = items(lengths)
    packs = pack(given_items, PACKING)
    assert [item for one in packs for item in one] == given_items
    assert all(one and sum(item.length for item in one) <= 100 and len(one) <= 4 for one in packs)


def test_pack_that_is_exactly_full_stays_open_for_nothing() -> None:
    assert [len(one) for one in pack(items([60, 40, 1]), PACKING)] == [2, 1]


def test_pack_closes_at_its_number_of_sequences() -> None:
    assert [len(one) for one in pack(items([1] * 9), PACKING)] == [4, 4, 1]


def test_longer_sequence_is_a_drop_and_the_longest_allowed_is_not() -> None:
    assert too_long(60, PACKING) is None
    drop = too_long(61, PACKING)
    assert drop is not None
    assert drop.reason == "too_long"


def test_too_long_sequence_is_never_packed() -> None:
    with pytest.raises(TokenError, match="Drop it first"):
        pack(items([61]), PACKING)


def test_credentialed_and_open_never_share_a_plan() -> None:
    with pytest.raises(TokenError, match="must not share"):
        pack([*items([1]), *items([1], credentialed=True)], PACKING)


def test_order_depends_on_the_seed_and_not_on_the_order_given() -> None:
    given_items = items([1] * 50)
    assert shuffled(given_items, 0) == shuffled(given_items[::-1], 0)
    assert shuffled(given_items, 0) != shuffled(given_items, 1)
    assert shuffled(given_items, 0) != given_items


def test_one_more_sample_moves_no_other() -> None:
    given_items = items([1] * 50)
    assert [item for item in shuffled(given_items, 0) if item != given_items[7]] == shuffled(
        [item for item in given_items if item != given_items[7]], 0
    )
