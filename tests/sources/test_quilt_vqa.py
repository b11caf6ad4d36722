"""Quirks of Quilt-VQA."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

import pytest

from medmax_pipeline.errors import RowError
from medmax_pipeline.records import Draft, Drop, ImageRef
from medmax_pipeline.sources import SOURCES, source
from medmax_pipeline.sources.record import Row, RowFiles

PARQUET = "parquet"
SENTENCE = "Yes, the margin shows tumour cells."


def adapt(variant: str = "", without: str = "", **changes: Any) -> Draft | Drop:
    record = source("quilt_vqa", variant)
    row = {**record.example, **changes}
    made = record.adapt({name: value for name, value in row.items() if name != without})
    assert isinstance(made, Draft | Drop)
    return made


def draft(variant: str = "", without: str = "", **changes: Any) -> Draft:
    made = adapt(variant, without, **changes)
    assert isinstance(made, Draft)
    return made


@pytest.mark.parametrize("yes_no", ["Yes", "yes ", "NO"])
def test_a_closed_answer_is_yes_or_no_and_its_sentence_the_context(yes_no: str) -> None:
    made = draft(yes_no_answer=yes_no)
    assert made.kind == "vqa_closed"
    assert made.answer == made.turns[1].text == yes_no.strip().lower()
    assert made.context == SENTENCE


def test_an_open_answer_is_its_sentence() -> None:
    made = draft(answer_type="OPEN", without="yes_no_answer")
    assert (made.kind, made.answer, made.context) == ("vqa_open", SENTENCE, SENTENCE)


def test_in_the_json_the_sentence_decides_nothing() -> None:
    assert draft(answer="Yes, it is.", yes_no_answer="no").answer == "no"


def test_the_question_may_stand_under_text_as_in_the_twin_without_answers() -> None:
    assert draft(without="question", text="Is it?").turns[0].text == "<image>Is it?"


class Folder:
    """An opened folder with the JSON, whose rows name no question we know, and its twin where told so."""

    def __init__(self, twin: bool) -> None:
        self.twin = twin

    def names(self, pattern: str) -> list[str]:
        return [pattern] if self.twin else []

    def jsonl(self, name: str) -> Iterator[Row]:
        yield Row(name, 0, {"question_id": 7, "text": "Is it?"})
        yield Row(name, 1, {}, "not JSON")

    def json_array(self, name: str) -> Iterator[Row]:
        yield Row(name, 0, {"id": 7})
        yield Row(name, 1, {"id": 8})
        yield Row(name, 2, {"id": 7, "question": "Is it not?"})
        yield Row(name, 3, {}, "not JSON")


@pytest.mark.parametrize(("twin", "texts"), [(True, ["Is it?", None, None, None]), (False, [None] * 4)])
def test_a_row_without_a_question_gets_that_of_the_twin(twin: bool, texts: list[str | None]) -> None:
    rows = list(SOURCES["quilt_vqa"].rows(cast(RowFiles, Folder(twin))))
    assert [row.values.get("text") for row in rows] == texts
    assert [row.number for row in rows] == [0, 1, 2, 3]


def test_another_key_of_the_question_is_named() -> None:
    with pytest.raises(RowError, match=r"no question in the row; it has .*query"):
        adapt(without="question", query="Is it?")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"yes_no_answer": "maybe"}, "yes_no_answer is 'maybe'"),
        ({"without": "yes_no_answer"}, "no yes_no_answer in the row"),
        ({"answer_type": "other"}, "answer_type is 'OTHER'"),
        ({"id": ""}, "id is empty"),
        ({"answer": "It is <image>."}, "the answer holds <image>"),
    ],
)
def test_what_the_publisher_never_ships_is_no_row_of_ours(changes: dict[str, str], message: str) -> None:
    with pytest.raises(RowError, match=message):
        adapt(**changes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"question": " "}, "question_empty"),
        ({"answer": ""}, "answer_empty"),
        ({"image": ""}, "image_not_named"),
    ],
)
def test_what_cannot_be_asked_is_dropped_by_name(changes: dict[str, str], reason: str) -> None:
    made = adapt(**changes)
    assert isinstance(made, Drop)
    assert made.reason == reason


@pytest.mark.parametrize(
    ("sentence", "answer"),
    [("Yes, it does.", "yes"), ("no", "no"), ("NO. It is benign.", "no"), ("  Yes it is", "yes")],
)
def test_in_the_parquet_copy_the_leading_word_is_the_answer(sentence: str, answer: str) -> None:
    made = draft(PARQUET, answer=sentence)
    assert (made.kind, made.answer, made.context) == ("vqa_closed", answer, sentence.strip())


@pytest.mark.parametrize("sentence", ["The margin is clear.", "Normally it is.", "Yesterday", "Not at all."])
def test_in_the_parquet_copy_a_sentence_without_leading_word_is_dropped(sentence: str) -> None:
    made = adapt(PARQUET, answer=sentence)
    assert isinstance(made, Drop)
    assert made.reason == "closed_answer_without_yes_or_no"


def test_in_the_parquet_copy_an_open_answer_needs_no_leading_word() -> None:
    assert draft(PARQUET, answer="The margin is clear.", answer_type="OPEN").kind == "vqa_open"


def test_in_the_parquet_copy_the_key_is_the_rows_place_and_the_picture_its_own() -> None:
    made = draft(PARQUET, place=3)
    assert made.key == "parquet/3"
    assert made.images == (ImageRef("data/train-00000-of-00001-0000000000000000.parquet", "image/0"),)


def test_in_the_parquet_copy_a_missing_picture_is_dropped_and_another_type_refused() -> None:
    assert isinstance(adapt(PARQUET, image=None), Drop)
    with pytest.raises(RowError, match="image is str"):
        adapt(PARQUET, image="a.jpg")


def test_the_video_is_kept_so_that_leaks_from_quilt_instruct_can_be_measured() -> None:
    assert json.loads(draft().extra) == {"video": "AbCdEfGhIjK"}


def test_both_copies_are_evaluation_although_one_is_named_train() -> None:
    for record in (SOURCES["quilt_vqa"], source("quilt_vqa", PARQUET)):
        assert record.splits == ("eval",)
    assert draft(PARQUET).split == "eval"
