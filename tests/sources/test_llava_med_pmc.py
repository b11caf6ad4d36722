"""Quirks of LLaVA-Med-PMC."""

from __future__ import annotations

import json
from typing import Any

import pytest

from medmax_pipeline.errors import RowError
from medmax_pipeline.records import Draft, Drop, picture
from medmax_pipeline.sources import SOURCES

SOURCE = SOURCES["llava_med_pmc"]
CAPTION = "Axial CT showing a nodule in the left lobe."


def chat(question: str = "Describe it.\n<image>", caption: Any = CAPTION) -> list[dict[str, Any]]:
    return [{"from": "human", "value": question}, {"from": "gpt", "value": caption}]


def made(**row: Any) -> Draft | Drop:
    adapted = SOURCE.adapt({"id": "123_F1", "image": "123_F1.jpg", **row})
    assert isinstance(adapted, Draft | Drop)
    return adapted


def draft(**row: Any) -> Draft:
    adapted = made(**row)
    assert isinstance(adapted, Draft)
    return adapted


@pytest.mark.parametrize("spelling", ["conversations", "conversatons"])
def test_both_spellings_of_the_turns_are_read(spelling: str) -> None:
    assert draft(**{spelling: chat()}).answer == CAPTION


def test_without_turns_the_keys_that_are_there_are_named() -> None:
    with pytest.raises(RowError, match="no conversations in the row; it has id, image, conversation"):
        made(conversation=chat())


@pytest.mark.parametrize(
    ("question", "text"),
    [("<image>\nDescribe it.", "<image>Describe it."), ("Describe it.\n<image>", "Describe it.<image>")],
)
def test_the_mark_stays_on_its_side_of_the_instruction(question: str, text: str) -> None:
    assert draft(conversations=chat(question)).turns[0].text == text


def test_an_instruction_without_a_mark_gets_one() -> None:
    assert draft(conversations=chat("Describe it.")).turns[0].text == "<image>Describe it."


def test_the_caption_is_answer_and_context() -> None:
    made = draft(conversations=chat())
    assert (made.kind, made.split, made.answer, made.context) == ("captioning", "train", CAPTION, CAPTION)


def test_the_picture_is_named_wherever_it_lies() -> None:
    assert draft(conversations=chat()).images == (picture("123_F1.jpg"),)


def test_a_record_without_domain_has_no_modality() -> None:
    assert draft(conversations=chat()).modality == ""


def test_of_two_domains_the_first_of_the_scorers_order_counts_and_both_are_kept() -> None:
    made = draft(conversations=chat(), domain={"ct_scan": True, "chest_xray": True, "mri": False})
    assert made.modality == "chest_xray"
    assert json.loads(made.extra)["domains"] == ["chest_xray", "ct_scan"]


def test_a_figure_id_with_underscores_and_dashes_stays_whole() -> None:
    made = draft(id="24143307_f4c-ccrep_2013-119", conversations=chat())
    assert json.loads(made.extra) == {"pmid": "24143307", "figure": "f4c-ccrep_2013-119"}


def test_a_domain_that_is_no_object_is_no_row_of_ours() -> None:
    with pytest.raises(RowError, match="domain is list"):
        made(conversations=chat(), domain=["mri"])


def test_two_pairs_are_no_alignment_record() -> None:
    with pytest.raises(RowError, match="4 turns"):
        made(conversations=[*chat(), *chat("And?")])


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"conversations": []}, "conversation_empty"),
        ({"conversations": chat()[:1]}, "conversation_does_not_alternate"),
        ({"conversations": chat(caption=" \n")}, "turn_empty"),
        ({"conversations": chat(caption="See <image>.")}, "image_mark_in_reply"),
        ({"conversations": chat(), "image": " "}, "image_not_named"),
    ],
)
def test_what_cannot_be_asked_is_dropped_by_name(row: dict[str, Any], reason: str) -> None:
    assert isinstance(dropped := made(**row), Drop)
    assert dropped.reason == reason


def test_the_list_of_urls_is_not_needed() -> None:
    assert [item.path for item in SOURCE.files if item.optional] == ["data/llava_med_image_urls.jsonl"]


def test_pictures_come_by_hand_in_one_form_of_several() -> None:
    pictures = [item for item in SOURCE.files if item.pictures]
    assert len(pictures) == 3
    assert {(item.group, item.by_hand, item.url) for item in pictures} == {("pictures", True, "")}
