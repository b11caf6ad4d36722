"""Quirks of LLaVA-Med's visual-chat evaluation."""

from __future__ import annotations

import json
from typing import Any

import pytest

from medmax_pipeline.errors import RowError
from medmax_pipeline.records import Drop, Turn
from medmax_pipeline.sources import SOURCES
from tests.sources.adapting import adapting

SOURCE = SOURCES["llava_med_chat"]


adapt, draft = adapting(SOURCE)


def test_the_question_is_the_turn_and_gpt4s_reply_the_reference() -> None:
    made = draft()
    assert made.turns == (Turn("user", "What organ is shown?<image>"), Turn("assistant", "The organ is the lung."))
    assert (made.split, made.kind, made.answer) == ("eval", "visual_chat", "The organ is the lung.")


@pytest.mark.parametrize("form", ["conversation", "detailed_description"])
def test_the_type_is_the_answer_type(form: str) -> None:
    assert draft(type=form).answer_type == form


def test_an_unknown_type_is_no_row_of_ours() -> None:
    with pytest.raises(RowError, match="type is 'complex'; expected one of conversation, detailed_description"):
        adapt(type="complex")


def test_a_judge_may_read_label_caption_and_mentions() -> None:
    assert draft().context == ("Fig 3: Lung section (H & E).\nMentioned in the text:\n- As seen in Fig 3 ...")


@pytest.mark.parametrize("mentions", [None, [], [" "]])
def test_without_a_mention_the_caption_stands_alone(mentions: object) -> None:
    assert draft(in_text_mention=mentions).context == "Fig 3: Lung section (H & E)."


def test_mentions_may_be_strings() -> None:
    assert draft(in_text_mention=["See  Fig 3."]).context.endswith("\n- See Fig 3.")


@pytest.mark.parametrize(
    ("mentions", "message"),
    [
        ("Fig 3", "in_text_mention is str"),
        ([3], "a mention is int"),
        ([{"text": "Fig 3"}], "no tokens in the row"),
        ([{"tokens": ["Fig", "3"]}], "a mention is list"),
    ],
)
def test_another_shape_of_mentions_is_no_row_of_ours(mentions: object, message: str) -> None:
    with pytest.raises(RowError, match=message):
        adapt(in_text_mention=mentions)


@pytest.mark.parametrize(
    ("true", "modality"),
    [
        (("histology", "gross"), "histology"),
        (("ct_scan", "chest_xray"), "chest_xray"),
        (("ct_scan", "gross"), "gross"),
        ((), ""),
    ],
)
def test_of_two_domains_the_first_of_the_scorers_order_counts(true: tuple[str, ...], modality: str) -> None:
    names = ("chest_xray", "mri", "ct_scan", "histology", "gross")
    assert draft(domain={name: name in true for name in names}).modality == modality


def test_the_question_id_zero_is_a_key() -> None:
    assert draft(question_id=0).key == "0"


def test_the_article_is_kept_for_people() -> None:
    assert json.loads(draft().extra) == {"pmid": "12345678", "figure": "F3"}


@pytest.mark.parametrize(
    ("changes", "reason"), [({"gpt4_answer": ""}, "turn_empty"), ({"image": ""}, "image_not_named")]
)
def test_what_cannot_be_asked_is_dropped_by_name(changes: dict[str, Any], reason: str) -> None:
    made = adapt(**changes)
    assert isinstance(made, Drop)
    assert made.reason == reason


def test_it_is_evaluation_and_nothing_else() -> None:
    assert SOURCE.splits == ("eval",)
