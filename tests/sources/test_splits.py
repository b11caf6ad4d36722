"""A split of our own: by group, stable, of about the share asked for."""

from __future__ import annotations

from medmax_pipeline.sources.splits import hash_split


def test_a_group_lies_on_the_side_where_earlier_builds_put_it() -> None:
    held_out = [number for number in range(40) if hash_split("pmc_oa", f"PMC{number}", 20) == "eval"]
    assert held_out == [7, 12, 13, 17, 19, 20, 26, 29]


def test_about_the_share_asked_for_is_held_out() -> None:
    held_out = sum(hash_split("pmc_oa", f"PMC{number}", 20) == "eval" for number in range(5000))
    assert 900 < held_out < 1100


def test_the_same_name_in_another_source_is_another_group() -> None:
    sides = [(hash_split("a", str(number), 50), hash_split("b", str(number), 50)) for number in range(200)]
    assert any(first != second for first, second in sides)


def test_nothing_and_everything_can_be_held_out() -> None:
    assert {hash_split("a", str(number), 0) for number in range(50)} == {"train"}
    assert {hash_split("a", str(number), 100) for number in range(50)} == {"eval"}
