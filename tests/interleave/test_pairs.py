"""Which pairs are written about."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from medmax_pipeline.interleave.pairs import Choice, edge_of
from medmax_pipeline.records import Sample
from tests.curation.published import publish
from tests.interleave.writing import pair

PAIRS = [pair(str(number)) for number in range(60)]


def chosen(folder: Path, samples: list[Sample], most: int | None, *, open_only: bool = True) -> dict[str, str]:
    """Reason of each sample, empty where it is written about."""
    publish(folder, samples)
    choice = Choice({"pmc_oa": folder}, {"pmc_oa": edge_of(folder, most)}, not open_only)
    return {sample.sample_id: drop.reason if drop else "" for sample, drop in choice.all()}


def taken(folder: Path, most: int | None) -> set[str]:
    return {name for name, reason in chosen(folder, PAIRS, most).items() if not reason}


@pytest.mark.parametrize("most", [0, 1, 20, 59, 60, 61, None])
def test_a_limit_is_met_exactly(tmp_path: Path, most: int | None) -> None:
    assert len(taken(tmp_path, most)) == min(60, 60 if most is None else most)


def test_a_smaller_limit_is_contained_in_a_larger_one(tmp_path: Path) -> None:
    assert taken(tmp_path, 10) < taken(tmp_path, 30) < taken(tmp_path, None)


def test_both_ways_of_a_pair_are_pairs_and_other_samples_are_not(tmp_path: Path) -> None:
    drawn = replace(PAIRS[0], kind="generation")
    others = [
        replace(PAIRS[1], kind="vqa_open"),
        replace(PAIRS[2], images=("p", "q")),
        replace(PAIRS[3], context=" "),
    ]
    found = chosen(tmp_path, [drawn, *others], None)
    assert found == {drawn.sample_id: ""} | {one.sample_id: "not_a_pair" for one in others}


def test_samples_that_are_no_pairs_do_not_count_towards_the_limit(tmp_path: Path) -> None:
    others = [replace(one, kind="vqa_open") for one in PAIRS[:30]]
    found = chosen(tmp_path, [*others, *PAIRS[30:]], 30)
    assert sorted(found.values()) == [""] * 30 + ["not_a_pair"] * 30


def test_credentialed_pairs_are_left_out_unless_admitted(tmp_path: Path) -> None:
    closed = replace(PAIRS[0], credentialed=True)
    assert chosen(tmp_path, [closed, PAIRS[1]], None)[closed.sample_id] == "credentialed_not_admitted"
    assert chosen(tmp_path, [closed, PAIRS[1]], None, open_only=False)[closed.sample_id] == ""
