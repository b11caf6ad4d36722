"""Quirks of PathMMU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from medmax_pipeline.errors import RowError
from medmax_pipeline.records import Drop
from medmax_pipeline.sources.path_mmu import SOURCE
from medmax_pipeline.sources.record import Row
from tests.sources.adapting import adapting

adapt, draft = adapting(SOURCE)


class Lists:
    """A `data.json` of these rows."""

    def __init__(self, *rows: tuple[tuple[str, ...], Row]) -> None:
        self.rows = rows

    def json_lists(self, name: str) -> Iterator[tuple[tuple[str, ...], Row]]:
        assert name == "data.json"
        return iter(self.rows)


def test_category_and_split_come_from_where_the_list_lies() -> None:
    broken = Row("data.json", 1, {}, "not an object")
    given = Lists(
        (("PubMed", "test"), Row("data.json", 0, {"No": 1})),
        (("PubMed", "test"), broken),
        (("PubMed",), Row("data.json", 2, {"No": 2})),
    )
    first, second, third = SOURCE.rows(given)  # type: ignore[arg-type]
    assert first.values == {"No": 1, "category": "PubMed", "split": "test"}
    assert second == broken
    assert third.fault == "lies below PubMed; expected category and split"


@pytest.mark.parametrize("split", ["test", "test_tiny"])
def test_both_tests_are_evaluation_and_their_numbers_do_not_clash(split: str) -> None:
    made = draft(split=split)
    assert (made.split, made.key) == ("eval", f"PubMed/{split}/1")


@pytest.mark.parametrize(("split", "reason"), [("train", "split_train"), ("val", "split_validation")])
def test_other_splits_are_left_out_by_name(split: str, reason: str) -> None:
    assert adapt(split=split) == Drop(reason)


def test_a_bracket_inside_an_option_does_not_cut_it() -> None:
    made = draft()
    assert (made.options[1], made.answer) == ("Apoptosis (late)", "B")
    assert made.turns[0].text == ("<image>What is shown?\nA: Mitosis\nB: Apoptosis (late)\nC: Necrosis\nD: Fibrosis")
    odd = draft(options=["A) 1) first", "B) second)"], answer="B) second)")
    assert odd.options == ("1) first", "second)")


@pytest.mark.parametrize("count", [3, 5])
def test_three_and_five_options_are_taken(count: int) -> None:
    options = [f"{letter}) Option {letter}" for letter in "ABCDE"[:count]]
    assert draft(options=options, answer=options[-1]).answer == "ABCDE"[count - 1]


def test_an_answer_without_its_letter_is_found_by_its_words() -> None:
    assert draft(answer="necrosis").answer == "C"


@pytest.mark.parametrize("answer", ["E) Other", "C) Mitosis", "Apoptosis", "", None])
def test_an_answer_that_is_none_of_the_options_is_dropped_by_name(answer: str | None) -> None:
    made = adapt(answer=answer)
    assert isinstance(made, Drop)
    assert made.reason == "answer_not_an_option"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"question": " "}, "question_empty"),
        ({"img": None}, "image_not_named"),
        ({"options": ["A) One"]}, "options_too_few"),
    ],
)
def test_an_unusable_row_is_dropped_by_name(changes: dict[str, Any], reason: str) -> None:
    made = adapt(**changes)
    assert isinstance(made, Drop)
    assert made.reason == reason


@pytest.mark.parametrize(
    "changes", [{"split": "dev"}, {"options": "A) One"}, {"options": ["B) One", "A) Two"]}, {"options": [["A"], ["B"]]}]
)
def test_another_shape_is_no_row_of_ours(changes: dict[str, Any]) -> None:
    with pytest.raises(RowError):
        adapt(**changes)
