"""Quirks of ProbMed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from medmax_pipeline.errors import RowError
from medmax_pipeline.records import Drop, picture
from medmax_pipeline.sources.probmed import SOURCE, is_true_question, topic_of
from tests.sources.adapting import adapting

adapt, draft = adapting(SOURCE)


def test_the_demand_to_answer_yes_or_no_stays_and_the_mark_goes_first() -> None:
    made = draft(question="Is this an X-ray image?\n<image> (please answer yes/no)")
    assert made.turns[0].text == "<image>Is this an X-ray image? (please answer yes/no)"
    assert (made.kind, made.answer, made.modality) == ("vqa_closed", "yes", "radiograph")


def test_keys_sort_in_the_order_of_the_file_and_ids_may_repeat() -> None:
    keys = [draft(position=position, id=7).key for position in (2, 10, 57_131)]
    assert keys == sorted(keys)
    assert keys[0] == "000002/7"


@pytest.mark.parametrize(
    ("qa_type", "topic", "true"),
    [
        ("modality_gt", "modality", True),
        ("modality_hallu", "modality", False),
        ("modality", "modality", None),
        ("body_part", "body_part", None),
        ("abnormality", "abnormality", None),
        ("entity_gt_3", "entity", True),
        ("entity_hallu_3", "entity", False),
        ("entity_3", "entity", False),
        ("entity_hallu", "entity", False),
        ("grounding_gt_0", "grounding", True),
        ("organ_0", "grounding", False),
    ],
)
def test_parts_of_the_type_decide_in_both_spellings(qa_type: str, topic: str, true: bool | None) -> None:
    assert (topic_of(qa_type), is_true_question(qa_type)) == (topic, true)
    made = draft(qa_type=qa_type)
    kept = json.loads(made.extra)
    assert (made.answer_type, kept["qa_type"], kept["topic"], kept["true_question"]) == (qa_type, qa_type, topic, true)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"question": "<image>"}, "question_empty"),
        ({"image": ""}, "image_not_named"),
        ({"answer": "maybe"}, "answer_not_yes_no"),
        ({"answer": None}, "answer_not_yes_no"),
    ],
)
def test_an_unusable_row_is_dropped_by_name(changes: dict[str, Any], reason: str) -> None:
    made = adapt(**changes)
    assert isinstance(made, Drop)
    assert made.reason == reason


@pytest.mark.parametrize("changes", [{"position": -1}, {"position": "0"}, {"question": ["Is it?"]}])
def test_another_shape_is_no_row_of_ours(changes: dict[str, Any]) -> None:
    with pytest.raises(RowError):
        adapt(**changes)


def test_the_picture_is_the_end_of_its_path() -> None:
    assert draft().images == (picture("chest/xray/00000001_000.png"),)
