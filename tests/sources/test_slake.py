"""Quirks of SLAKE."""

from __future__ import annotations

from typing import Any

import pytest

from medmax_pipeline.errors import RowError
from medmax_pipeline.records import Drop, picture
from medmax_pipeline.sources import SOURCES
from tests.sources.adapting import adapting

SLAKE = SOURCES["slake"]


adapt, draft = adapting(SLAKE)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_chinese_row_leaves_before_its_split_is_looked_at(split: str) -> None:
    made = adapt(q_lang="zh", split=split, answer="")
    assert isinstance(made, Drop)
    assert made.reason == "language_zh"


@pytest.mark.parametrize(("split", "side"), [("train", "train"), ("test", "eval")])
def test_the_file_is_the_split(split: str, side: str) -> None:
    assert draft(split=split).split == side


@pytest.mark.parametrize("answer", ["Yes", "yes ", "YES"])
def test_yes_in_any_case_is_closed_and_lower_case(answer: str) -> None:
    made = draft(answer=answer, answer_type="CLOSED")
    assert (made.kind, made.answer, made.turns[1].text) == ("vqa_closed", "yes", "yes")


def test_a_closed_answer_that_is_a_choice_is_open_and_keeps_the_publishers_word() -> None:
    made = draft(answer="Lung", answer_type="CLOSED")
    assert (made.kind, made.answer, made.answer_type) == ("vqa_open", "Lung", "CLOSED")


def test_doubled_blanks_go() -> None:
    assert draft(answer="Transverse  Plane").answer == "Transverse Plane"


def test_the_picture_is_named_with_its_folder() -> None:
    assert draft().images == (picture("xmlab1/source.jpg"),)


def test_the_key_is_the_qid_and_the_modality_is_kept() -> None:
    made = draft(qid=1622)
    assert (made.key, made.modality) == ("1622", "MRI")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"answer": ""}, "answer_empty"),
        ({"answer": None}, "answer_empty"),
        ({"question": " "}, "question_empty"),
        ({"split": "validation"}, "split_validation"),
    ],
)
def test_an_unusable_row_is_dropped_by_name(changes: dict[str, Any], reason: str) -> None:
    made = adapt(**changes)
    assert isinstance(made, Drop)
    assert made.reason == reason


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"q_lang": "fr"}, "q_lang is 'fr'"),
        ({"split": "val"}, "split is 'val'"),
        ({"split": ["test"]}, "split is "),
        ({"img_name": 7}, "img_name is 7"),
        ({"img_name": ""}, "img_name is ''"),
        ({"qid": None}, "qid is None"),
        ({"answer": ["MRI"]}, "found list"),
    ],
)
def test_a_value_of_another_shape_is_no_row_of_ours(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RowError, match=message):
        adapt(**changes)


@pytest.mark.parametrize("name", ["q_lang", "qid", "img_name", "question", "answer", "answer_type"])
def test_a_missing_key_is_named(name: str) -> None:
    with pytest.raises(RowError, match=f"no {name} in the row"):
        SLAKE.adapt({key: value for key, value in SLAKE.example.items() if key != name})
